"""How long mail is parked that has no room at its site, and when it is recalled."""

import itertools
from datetime import timedelta

import pytest

from postroad.delivery.sites.site import Site
from postroad.policy.model import Rate, SiteLimits
from postroad_harness.setups.delivery.site import (
    BULK,
    LONGEST,
    TRANSACTIONAL,
    at_work,
    begin,
    fill,
    park,
    site,
    waiting,
    work,
)


def test_what_is_parked_comes_back_in_its_turn_and_not_all_at_once() -> None:
    room = site(room=2)
    room.add(waiting("a"), 1000.0)
    room.add(waiting("b"), 1000.0)
    turns = park(room, 100, 1000.0)
    assert turns == sorted(turns)
    assert turns[0] >= 1
    assert turns[-1] > turns[0]


def test_a_site_that_gets_under_way_slowly_does_not_keep_its_mail_parked_for_minutes() -> None:
    """A greeting that comes after five seconds, say, tells nothing of the pace behind it."""
    room = site(room=1000)
    for _ in range(300):
        room.add(waiting("a"), 1000.0)
    slow = begin(room, 1000.0)
    assert [max(park(room, 500, at)) for at in (1002.0, 1005.0)] == [8.0, 20.0]
    room.ended(slow, 1005.0, 5.0)
    assert max(park(room, 500, 1005.1)) <= 5.0, "it moves, and nobody knows how fast"


def test_mail_is_parked_the_longer_the_longer_a_site_stands_still() -> None:
    room = site(room=1000)
    for _ in range(300):
        room.add(waiting("a"), 1000.0)
    begin(room, 1000.0)
    assert max(park(room, 500, 1300.0)) == 900.0


def test_mail_that_comes_again_to_a_site_that_fell_silent_is_parked_for_longer() -> None:
    """However fast it was, and although nothing else waits."""
    room = site(room=1000)
    now = at_work(room, 400, seconds=3)
    for _ in range(20):
        room.add(waiting("a"), now)
        begin(room, now)
        room.occupy()
    parked = [min(park(room, 10, now + seconds)) for seconds in (15, 30, 60)]
    assert parked == [15.0, 30.0, 60.0]


def at_full_work(room: Site) -> float:
    """Let a site take 400 messages a second, while others wait; return the time afterwards."""
    fill(room, 400, TRANSACTIONAL, 1000.0, places=1)
    for second in range(1000, 1003):
        room.pace.looks(second)
        at_work(room, 400, seconds=1, start=second)
    room.pace.looks(1003.0)
    return 1003.0


def test_a_pause_of_this_process_does_not_make_a_site_seem_slow() -> None:
    room = site(room=1500)
    parked_before = park(room, 10_000, at_full_work(room))
    assert max(parked_before) < 30, "four hundred a second, and ten thousand before it"
    began = begin(room, 1003.2)
    room.occupy()
    resumed = 1003.3 + 25.0  # mail comes, or an attempt ends, before the next look
    assert max(park(room, 10_000, resumed)) == pytest.approx(max(parked_before), rel=0.1)
    room.ended(began, resumed + 0.1, 25.2)
    assert room.moves(resumed + 0.2)
    at_work(room, 400, seconds=2, start=resumed + 0.2)
    assert max(park(room, 10_000, resumed + 2.2)) == pytest.approx(max(parked_before), rel=0.1)


def test_attempts_that_a_pause_of_this_process_broke_off_do_not_make_a_site_seem_silent() -> None:
    room = site(room=1500)
    broken = [begin(room, at_full_work(room)) for _ in range(20)]
    room.occupy()
    for each in broken:
        room.ended(each, 1063.0, 60.0, silence=60.0)
    assert room.moves(1063.1)


def test_a_site_that_stands_still_while_this_process_runs_does_so() -> None:
    room = site(room=1500)
    begin(room, at_full_work(room))
    room.occupy()
    for second in range(1004, 1034):
        room.pace.looks(second)
    assert not room.moves(1033.0)
    assert min(park(room, 10, 1033.0)) == 30.0


def test_the_pace_is_that_of_a_site_at_work() -> None:
    room = site(room=1000)
    for second in (86_400, 90_000):  # the clock has been running, and the site was idle between
        for _ in range(400):
            room.add(waiting("a"), second)
        for moment in range(300):
            work(room, second + moment / 100, 0.01)
        [wait] = park(room, 1, second + 3)
        assert wait < 3, "a hundred a second, and a hundred wait"
        while room.next():
            pass


def test_mail_is_recalled_to_three_quarters_of_the_room() -> None:
    """A room that becomes a little smaller must not send back what was just recalled."""
    room = site(room=40)
    assert room.recalls(TRANSACTIONAL, 100.0) == (15, 5), "the room is half of all places"
    fill(room, 12, BULK, 100.0, places=1)
    assert room.recalls(TRANSACTIONAL, 100.0)[0] == 15, "bulk makes way"
    assert room.recalls(BULK, 100.0)[0] == 3


def test_the_free_places_belong_to_parked_mail_that_came_before() -> None:
    room = site(room=40)
    fill(room, 12, TRANSACTIONAL, 100.0, places=1)
    assert room.has_room(TRANSACTIONAL, 100.0, parked=7)
    assert not room.has_room(TRANSACTIONAL, 100.0, parked=8)


def test_a_site_that_is_faster_than_mail_is_recalled_takes_mail_that_comes() -> None:
    room = site(room=40)
    fill(room, 4, TRANSACTIONAL, 100.0, places=1)
    assert room.has_room(TRANSACTIONAL, 100.0, parked=5000)
    assert not room.has_room(TRANSACTIONAL, 100.0, parked=5000, coming=1), (
        "what is recalled is enough"
    )


def test_the_pace_of_a_site_is_its_message_rate_while_that_holds_mail_up() -> None:
    """All messages of a window may begin at once; that says nothing of the next seconds."""
    room = site(room=1500)
    room.adopt(SiteLimits(message_rate=Rate(100, timedelta(seconds=10))))
    for _ in range(200):
        room.add(waiting("a"), 1000.0)
    for moment in range(100):
        work(room, 1000.0 + moment / 100, 0.01)
    assert [room.rate(at) for at in (1001.5, 1009.0)] == [10.0, 10.0]
    assert room.room(1009.0) == 100
    assert min(park(room, 10, 1002.0)) == pytest.approx(8.0), "no place becomes free before"


def test_mail_is_put_off_until_a_slice_can_be_had_and_not_for_minutes() -> None:
    """While another pool sends to the site, each slice is leased; mostly it comes at once."""
    room = site(room=40)
    room.adopt(SiteLimits(message_rate=Rate(100, timedelta(seconds=10))))
    at_work(room, 10, seconds=3)
    room.limiter.leased = True
    assert room.limiter.needs_slice(1003.0)
    assert park(room, 3, 1003.0) == [1.0, 1.0, 1.0]
    room.limiter.refuse_until(1010.0)
    assert park(room, 1, 1003.0) == [7.0]
    assert park(room, 1, 1012.0) == [1.0], "it may be had again by now"


def test_no_mail_is_brought_back_to_a_site_that_went_down_and_was_not_reached_since() -> None:
    room = site(room=40)
    room.downtime.begins("no connection", 100.0, retry_first=30.0)
    assert room.recalls(TRANSACTIONAL, 200.0) == (0, 0)
    room.downtime.ends()
    assert room.recalls(TRANSACTIONAL, 200.0)[0] > 0


def put_off(room: Site, now: float) -> float:
    """Return for how many seconds transactional mail is put off that comes while a site is down."""
    return room.downtime.put_off(TRANSACTIONAL, now, rate=room.pace.rate(now), longest=LONGEST)


def test_how_long_a_site_is_down_does_not_make_it_seem_slow() -> None:
    room = site(room=1000)
    for _ in range(20):
        room.add(waiting("a"), 100.0)
    for moment in range(2):
        work(room, 100.0 + moment / 100, 0.01)
    room.downtime.begins("no connection", 100.1, retry_first=20.0)
    waits = [put_off(room, 100.1) for _ in room.empty()]
    waits.extend(put_off(room, 100.1 + second) + second for second in range(1, 10))
    gaps = [later - sooner for sooner, later in itertools.pairwise(waits)]
    assert max(gaps) < 0.2, "ten a second find out whether it is up, whenever they came"
