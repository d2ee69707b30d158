"""A site and what waits for it, for tests of sites."""

from dataclasses import dataclass
from typing import cast

from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, SiteLimits
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


def park(
    room: Site, number: int, now: float, traffic_class: TrafficClass = TRANSACTIONAL
) -> list[float]:
    """Park records, each behind the ones before; return for how many seconds each."""
    return [room.park(traffic_class, now, parked=n, longest=LONGEST) for n in range(number)]


def fill(room: Site, count: int, traffic_class: TrafficClass, now: float, *, places: int) -> int:
    """Let records come, as many as find room; return how many do."""
    for number in range(count):
        if not room.has_room(traffic_class, now):
            return number
        room.add(waiting(f"n{number}", traffic_class, places=places), now)
    return count
