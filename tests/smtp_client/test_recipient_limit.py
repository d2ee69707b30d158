"""The number of recipients for a host: what it accepted, and more again after a while."""

from postroad.smtp_client.recipient_limit import RecipientLimit


def took(limit: RecipientLimit, messages: int) -> int:
    """Let a host take so many of the largest messages; return the number that it takes then."""
    for _ in range(messages):
        limit.took(limit.most(0.0))
    return limit.most(0.0)


def test_what_a_host_takes_is_learned_and_grows_again_as_it_takes_more() -> None:
    limit = RecipientLimit()
    assert limit.most(0.0) == 100
    limit.refused(1, 0.0)
    assert took(limit, 9) == 1
    assert took(limit, 1) == 2
    assert took(limit, 60) == 100, "in steps of two"


def test_smaller_messages_show_nothing() -> None:
    limit = RecipientLimit()
    limit.refused(20, 0.0)
    for _ in range(50):
        limit.took(19)
    assert limit.most(0.0) == 20


def test_a_limit_that_stands_is_tried_less_and_less_often() -> None:
    limit = RecipientLimit()
    limit.refused(20, 0.0)
    assert took(limit, 10) == 40
    limit.refused(20, 0.0)
    assert took(limit, 19) == 20
    assert took(limit, 1) == 40
    limit.refused(20, 0.0)
    assert took(limit, 39) == 20


def test_sessions_that_meet_a_limit_at_once_meet_it_once() -> None:
    limit = RecipientLimit()
    for _ in range(20):
        limit.refused(20, 0.0)
    assert took(limit, 10) == 40


def test_an_hour_later_it_is_forgotten() -> None:
    limit = RecipientLimit()
    limit.refused(20, 0.0)
    assert limit.most(3599.0) == 20
    assert limit.most(3600.0) == 100
