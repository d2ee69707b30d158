"""A site's waiting room: express first, bounded, and left alone while it is down."""

from dataclasses import dataclass
from typing import cast

from postroad.delivery.limits import SiteLimiter
from postroad.delivery.site import MAX_DOWN, Site, Waiting
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import SiteLimits, WayOut
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Taken
from postroad.spool.record import QueueRecord
from postroad.testing.queued_mail import now, record


@dataclass
class InHand:
    """A record in hand, as far as a waiting room looks."""

    record: QueueRecord


def site(room: int = 4) -> Site:
    return Site("mx.test", SiteLimiter(SiteLimits()), room)


def waiting(name: str, traffic_class: TrafficClass = TrafficClass.EXPRESS) -> Waiting:
    queued = record(new_queue_id(now(), 0), f"{name}@y.example", traffic_class=traffic_class)
    return Waiting(cast(Taken, InHand(queued)), WayOut("relay:a/b"))


def name(found: Waiting | None) -> str:
    return found.taken.record.recipients[0].mailbox.local_part if found else ""


def test_express_goes_before_bulk_and_each_in_its_order() -> None:
    room = site()
    for each, traffic_class in (("b1", "b"), ("x1", "x"), ("b2", "b"), ("x2", "x")):
        room.add(waiting(each, TrafficClass(traffic_class)))
    assert [name(room.next()) for _ in range(5)] == ["x1", "x2", "b1", "b2", ""]


def test_so_many_may_wait() -> None:
    room = site(room=2)
    for _ in range(2):
        assert room.has_room()
        room.add(waiting("a"))
    assert not room.has_room()
    room.next()
    assert room.has_room()


def test_what_is_parked_comes_back_in_its_turn_and_not_all_at_once() -> None:
    room = site(room=2)
    room.add(waiting("a"))
    room.add(waiting("b"))
    turns = [room.park() for _ in range(100)]
    assert turns == sorted(turns)
    assert turns[0] >= 1
    assert turns[-1] > turns[0]


def test_the_pace_is_that_of_a_site_at_work() -> None:
    room = site(room=1000)
    for second in (86_400, 90_000):  # the clock has been running, and the site was idle between
        for _ in range(400):
            room.add(waiting("a"))
        for moment in range(300):
            room.next()
            room.begin(second + moment / 100)
        assert room.park() < 3, "a hundred a second, and a hundred wait"
        while room.next():
            pass


def test_a_site_that_could_not_be_reached_is_left_alone_for_a_while() -> None:
    room = site()
    assert not room.is_down(100.0)
    room.went_down("no connection", 100.0, retry_first=30.0)
    assert room.is_down(114.9)
    assert not room.is_down(115.0)
    room.went_down("no connection", 200.0, retry_first=86400.0)
    assert not room.is_down(200.0 + MAX_DOWN)
    room.went_down("no connection", 300.0, retry_first=30.0)
    room.came_up()
    assert not room.is_down(300.0)


def test_a_site_is_idle_when_nothing_waits_and_nothing_is_under_way() -> None:
    room = site()
    assert room.idle
    room.add(waiting("a"))
    assert not room.idle
    room.next()
    room.limiter.connections = 1
    assert not room.idle
