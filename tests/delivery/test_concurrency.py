"""A site is given as many connections as it bears: more while it answers, fewer when it refuses."""

from postroad.delivery.sites.concurrency import INITIAL, Concurrency


def test_a_site_that_answers_has_all_connections_after_two_rounds() -> None:
    site = Concurrency()
    for _ in range(2):
        for _ in range(site.window):
            site.answered(100.0, 20)
    assert site.window == 20
    site.answered(100.0, 20)
    assert site.window == 20, "never more than the limit"


def test_a_refusal_leaves_what_works() -> None:
    site = Concurrency(window=20)
    site.refused(100.0, 6)
    assert site.window == 6
    site.refused(100.1, 2)
    assert site.window == 2
    site.refused(100.2, 5)
    assert site.window == 2
    site.refused(100.3, 0)
    assert site.window == 1


def test_one_more_is_tried_after_a_while_and_after_twice_as_long_if_that_fails() -> None:
    site = Concurrency()
    site.refused(100.0, 2)
    now = 100.0
    tried: list[float] = []
    while len(tried) < 3:
        now += 0.1
        site.answered(now, 20)
        if site.window == 3:
            tried.append(now)
            site.refused(now, 2)
    assert 10 < tried[0] - 100 < 11
    assert 20 < tried[1] - tried[0] < 21
    assert 40 < tried[2] - tried[1] < 41


def test_a_site_that_bears_more_again_is_given_more_with_each_round() -> None:
    site = Concurrency()
    site.refused(100.0, 1)
    for _ in range(1 + 2 + 3 + 4):
        site.answered(111.0, 20)
    assert site.window == INITIAL
