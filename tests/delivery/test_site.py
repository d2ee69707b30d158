"""The waiting records of a site: transactional first, limited, untried while it is down."""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import pytest

from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, Rate, SiteLimits
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import LeasedRecord
from postroad.spool.record import QueueRecord
from postroad.testing.queue.queued_mail import now, record

TRANSACTIONAL, BULK = TrafficClass
LONGEST = 900.0  # seconds that mail is put off, of a process that has put much off


@dataclass
class InHand:
    """A record in hand, as far as a waiting room looks."""

    record: QueueRecord
    places: int = 1


def site(room: int = 4) -> Site:
    return Site("relay:a/b", SiteLimiter(SiteLimits()), Shares(room), SiteTotal("mx.test"))


def waiting(
    name: str, traffic_class: TrafficClass = TRANSACTIONAL, *, places: int = 1
) -> WaitingRecord:
    queued = record(new_queue_id(now(), 0), f"{name}@y.example", traffic_class=traffic_class)
    return WaitingRecord(cast(LeasedRecord, InHand(queued, places)), EgressPath("relay:a/b"))


def name(found: WaitingRecord | None) -> str:
    return found.leased.record.recipients[0].mailbox.local_part if found else ""


def test_transactional_goes_before_bulk_and_each_in_its_order() -> None:
    room = site()
    for each, traffic_class in (("b1", "b"), ("x1", "x"), ("b2", "b"), ("x2", "x")):
        room.add(waiting(each, TrafficClass(traffic_class)), 100.0)
    assert [name(room.next()) for _ in range(5)] == ["x1", "x2", "b1", "b2", ""]


def test_a_way_out_whose_connections_become_fewer_ends_some_whatever_another_may_use() -> None:
    total: SiteTotal[Site] = SiteTotal("mx.test")
    two = [Site(relay, SiteLimiter(SiteLimits()), Shares(40), total) for relay in ("r:a", "r:b")]
    for each in two:
        each.add(waiting("a"), 100.0)
        each.occupy()
        each.occupy()
    two[0].adopt(SiteLimits(connections=1))
    assert [each.has_too_many for each in two] == [True, False]


def test_half_of_all_may_wait_for_a_site_of_which_nothing_is_known() -> None:
    room = site(room=40)
    for _ in range(20):
        assert room.has_room(TRANSACTIONAL, 100.0)
        room.add(waiting("a"), 100.0)
    assert not room.has_room(TRANSACTIONAL, 100.0)
    room.next()
    room.shares.recount([room.lasting(100.0)])
    assert room.has_room(TRANSACTIONAL, 100.0)


def begin(room: Site, now: float) -> WaitingRecord:
    first = room.next()
    assert first is not None
    room.begin(first, now)
    return first


def work(room: Site, now: float, seconds: float) -> None:
    """Let a site begin a message and end it so many seconds later."""
    room.ended(begin(room, now), now + seconds, seconds)


def at_work(room: Site, rate: int, *, seconds: int, start: float = 1000.0) -> float:
    """Let a site with a backlog take `rate` messages a second; return the time afterwards."""
    for moment in range(rate * seconds):
        now = start + moment / rate
        room.add(waiting("a"), now)
        work(room, now, 1 / rate)
    return start + seconds


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


def park(
    room: Site, number: int, now: float, traffic_class: TrafficClass = TRANSACTIONAL
) -> list[float]:
    """Park records, each behind the ones before; return for how many seconds each."""
    return [room.park(traffic_class, now, parked=n, longest=LONGEST) for n in range(number)]


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


def test_a_site_does_not_move_because_its_silent_attempts_are_given_up() -> None:
    room = site(room=1000)
    now = at_work(room, 400, seconds=3)
    for each in ("a", "b"):
        room.add(waiting(each), now)
    two = [begin(room, now) for _ in range(2)]
    room.occupy()
    for given_up in two:
        room.ended(given_up, now + 30.0, 30.0, silence=30.0)
        assert not room.moves(now + 30.0)
    for second in range(6):
        room.add(waiting("a"), now + 40.0 + second)
        work(room, now + 40.0 + second, 0.1)
    assert room.moves(now + 46.0), "its host is back"


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


def test_no_mail_is_brought_back_to_a_site_that_went_down_and_was_not_reached_since() -> None:
    room = site(room=40)
    room.downtime.begins("no connection", 100.0, retry_first=30.0)
    assert room.recalls(TRANSACTIONAL, 200.0) == (0, 0)
    room.downtime.ends()
    assert room.recalls(TRANSACTIONAL, 200.0)[0] > 0


def test_a_site_is_idle_when_nothing_waits_and_nothing_is_under_way() -> None:
    room = site()
    assert room.idle
    room.add(waiting("a"), 100.0)
    assert not room.idle
    room.next()
    room.occupy()
    assert not room.idle


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


def test_a_record_that_was_refused_is_the_next_and_costs_nothing_of_the_rate() -> None:
    rate = Rate(1, timedelta(hours=1))
    limiter = SiteLimiter(SiteLimits(message_rate=rate))
    room = Site("relay:a/b", limiter, Shares(4), SiteTotal("host", by_mx=False))
    for each in ("first", "second"):
        room.add(waiting(each), 100.0)
    refused = begin(room, 100.0)
    room.take_back(refused)
    room.put_back(refused)
    assert room.next_start(101.0) == 101.0
    assert name(room.next()) == "first"


def fill(room: Site, count: int, traffic_class: TrafficClass, now: float, *, places: int) -> int:
    """Let records come, as many as find room; return how many do."""
    for number in range(count):
        if not room.has_room(traffic_class, now):
            return number
        room.add(waiting(f"n{number}", traffic_class, places=places), now)
    return count


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
