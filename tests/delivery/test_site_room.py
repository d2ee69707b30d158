"""How much mail may wait for a site: by its pace, the size of mail and its class."""

from postroad_harness.setups.delivery.site import (
    BULK,
    TRANSACTIONAL,
    at_work,
    begin,
    fill,
    name,
    park,
    site,
    waiting,
    work,
)


def test_half_of_all_may_wait_for_a_site_of_which_nothing_is_known() -> None:
    room = site(room=40)
    for _ in range(20):
        assert room.has_room(TRANSACTIONAL, 100.0)
        room.add(waiting("a"), 100.0)
    assert not room.has_room(TRANSACTIONAL, 100.0)
    room.next()
    room.shares.recount([room.lasting(100.0)])
    assert room.has_room(TRANSACTIONAL, 100.0)


def test_a_fast_site_is_never_parked_and_a_slow_one_holds_what_it_takes_in_seconds() -> None:
    fast, slow = site(room=1500), site(room=1500)
    for room in (fast, slow):
        room.add(waiting("backlog"), 1000.0)
    assert fast.room(at_work(fast, 400, seconds=3)) == 1500
    assert 150 <= slow.room(at_work(slow, 20, seconds=3)) <= 250


def test_a_site_that_says_nothing_holds_little_and_the_last_go_first() -> None:
    room = site(room=1500)
    for number in range(300):
        room.add(waiting(f"n{number}"), 1000.0)
    for _ in range(5):
        begin(room, 1000.0)
        room.occupy()
    assert room.surplus(1001.0) == [], "nothing is known of it yet"
    surplus = room.surplus(1030.0)
    assert len(surplus) == 200
    assert name(surplus[0]) == "n299"
    assert room.held == 100
    assert not room.has_room(TRANSACTIONAL, 1030.0)


def test_a_site_that_falls_silent_holds_little_however_fast_it_was() -> None:
    room = site(room=1500)
    for _ in range(300):
        room.add(waiting("a"), 1000.0)
    now = at_work(room, 400, seconds=3)
    begin(room, now)
    room.occupy()
    assert room.room(now + 1.0) > 1000
    assert room.room(now + 11.0) < 100


def test_little_mail_does_not_make_a_site_slow() -> None:
    room = site(room=1500)
    for second in range(60):
        room.add(waiting("a"), 1000.0 + second)
        work(room, 1000.0 + second, 0.1)
    assert room.room(1060.0) == 750


def test_large_mail_for_a_site_that_says_nothing_has_no_more_places_than_small() -> None:
    room = site(room=1500)
    fill(room, 1500, TRANSACTIONAL, 1000.0, places=6)
    for _ in range(5):
        begin(room, 1000.0)
        room.occupy()
    assert 750 <= room.held < 756, "half of all, and the last may be larger than what was left"
    room.surplus(1030.0)
    assert room.held < 106
    assert not room.has_room(TRANSACTIONAL, 1030.0)


def test_a_slow_site_holds_what_it_takes_in_seconds_however_large_that_is() -> None:
    room = site(room=1500)
    room.add(waiting("backlog", places=5), 1000.0)
    for moment in range(60):
        at = 1000.0 + moment / 20
        room.add(waiting("a", places=5), at)
        work(room, at, 0.05)
    assert 750 <= room.room(1003.0) <= 1250, "some 200 records"
    assert room.lasting(1003.0) == 0


def test_mail_that_begins_seldom_leaves_its_places_to_others_however_fast_the_host_is() -> None:
    """As where a Relay has a message rate: the rate of its first seconds is no rate for long."""
    room = site(room=1500)
    room.add(waiting("backlog", places=6), 1000.0)
    for moment in range(60):
        at = 1000.0 + moment / 20
        room.add(waiting("a", places=6), at)
        work(room, at, 0.05)
    fill(room, 300, TRANSACTIONAL, 1003.0, places=6)
    room.surplus(1020.0)
    assert room.held <= 102


def test_one_record_is_let_in_that_is_larger_than_its_sites_share() -> None:
    room = site(room=1500)
    room.shares.recount([15] * 33)
    large = waiting("large", places=300)
    assert room.has_room(TRANSACTIONAL, 1000.0)
    room.add(large, 1000.0)
    assert room.surplus(1000.0) == []
    assert room.next() is large


def test_what_is_under_way_keeps_its_places_until_it_has_ended() -> None:
    room = site(room=1500)
    room.add(waiting("a", places=7), 1000.0)
    begun = begin(room, 1000.0)
    assert room.held == 7
    room.ended(begun, 1001.0, 1.0)
    assert room.held == 0


def test_transactional_has_room_where_bulk_fills_the_room_and_bulk_makes_way() -> None:
    room = site(room=40)
    assert fill(room, 100, BULK, 1000.0, places=1) == 20
    assert not room.has_room(BULK, 1000.0)
    assert room.has_room(TRANSACTIONAL, 1000.0)
    room.add(waiting("transactional"), 1000.0)
    assert [name(each) for each in room.surplus(1000.0)] == ["n19"]
    assert fill(room, 100, TRANSACTIONAL, 1000.0, places=1) < 20, "its own places are bounded, too"


def test_transactional_that_finds_no_room_waits_for_the_turns_of_transactional_alone() -> None:
    room = site(room=1500)
    for moment in range(13):
        at = 1000.0 + moment / 4
        for _ in range(30):
            room.add(waiting("bulk", BULK), at)
        work(room, at, 0.25)
    bulk, transactional = park(room, 2000, 1003.25, BULK), park(room, 4, 1003.25)
    assert bulk[-1] > 500
    assert max(transactional) < 5
