"""Addresses that gave no connection are left out for a while if there are others."""

from postroad.smtp_client.outages import NetworkPath, Outages

DEAD = NetworkPath("192.0.2.1", 25)


def test_a_dead_address_is_left_out_for_a_minute_and_then_longer() -> None:
    outages = Outages()
    assert not outages.has(DEAD, 100.0)
    outages.fails(DEAD, 100.0)
    assert outages.has(DEAD, 159.0)
    assert not outages.has(DEAD, 161.0)
    outages.fails(DEAD, 170.0)
    assert outages.has(DEAD, 289.0)
    for _ in range(20):
        outages.fails(DEAD, 300.0)
    assert not outages.has(DEAD, 901.0)


def test_one_mail_finds_out_whether_it_is_back() -> None:
    outages = Outages()
    outages.fails(DEAD, 100.0)
    outages.tries(DEAD, 170.0)
    assert outages.has(DEAD, 171.0)
    outages.answers(DEAD)
    assert not outages.has(DEAD, 171.0)
    outages.tries(DEAD, 171.0)
    assert not outages.has(DEAD, 172.0), "it has not failed since"


def test_what_one_source_meets_is_nothing_to_another() -> None:
    outages = Outages()
    outages.fails(DEAD, 100.0)
    assert not outages.has(DEAD._replace(source="192.0.2.9"), 100.0)
    assert not outages.has(DEAD._replace(port=587), 100.0)


def test_no_more_are_remembered_than_there_is_room_for() -> None:
    outages = Outages()
    for number in range(20_000):
        outages.fails(NetworkPath(str(number), 25), 100.0)
    assert not outages.has(NetworkPath("0", 25), 100.0)
    assert outages.has(NetworkPath("19999", 25), 100.0)
