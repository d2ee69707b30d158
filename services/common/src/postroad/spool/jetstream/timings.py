"""The clockwork of the queue: how long sessions and leases last, and how often is looked."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Timings:
    """The clockwork of sessions and leases; tests wind it faster."""

    session_life: timedelta = timedelta(seconds=18)
    renewal: timedelta = timedelta(seconds=3)
    self_doubt: timedelta = timedelta(seconds=15)
    ack_wait: timedelta = timedelta(seconds=20)
    lease_fresh: timedelta = timedelta(seconds=12)
    sweep: timedelta = timedelta(seconds=60)
    page_pause: timedelta = timedelta(seconds=2)  # of a sweep, after each page
    pools: timedelta = timedelta(seconds=10)  # between looks for pools that hold mail
    alone: timedelta = timedelta(seconds=15)  # of a suspect: no other is tried beside it
    suspects: timedelta = timedelta(seconds=2)  # until those of one death have come
    gathering: timedelta = timedelta(seconds=2)  # of the destinations of shared bodies that ended
    abandoned: timedelta = timedelta(hours=1)  # until an unfinished body is taken for left behind
