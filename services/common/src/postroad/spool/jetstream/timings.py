"""The timings of the queue: the lives of sessions and leases, and the intervals of checks."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Timings:
    """The timings of the queue; tests use shorter ones."""

    session_life: timedelta = timedelta(seconds=18)
    renewal: timedelta = timedelta(seconds=3)
    self_doubt: timedelta = timedelta(seconds=15)
    ack_wait: timedelta = timedelta(seconds=20)
    lease_fresh: timedelta = timedelta(seconds=12)
    sweep: timedelta = timedelta(seconds=60)
    page_pause: timedelta = timedelta(seconds=2)  # in a sweep, after each page
    pools: timedelta = timedelta(seconds=10)  # between searches for pools that have mail
    alone: timedelta = timedelta(seconds=15)  # for which a suspect is tried without another
    suspects: timedelta = timedelta(seconds=2)  # to wait until the suspects of one death have come
    gathering: timedelta = timedelta(seconds=2)  # to collect ended destinations of shared bodies
    refusing: timedelta = timedelta(seconds=15)  # of failed publishes until a stream "refuses"
    refusing_tried_again: timedelta = timedelta(seconds=30)  # with one message of new mail
    abandoned: timedelta = timedelta(hours=1)  # until an unfinished body counts as abandoned
    unstored: timedelta = timedelta(minutes=5)  # of failed settles until a record is given back
