"""When to try again, when to warn the sender, when to give up. No I/O; time is an argument."""

import random
from datetime import datetime, timedelta

from postroad.policy.model import RetrySchedule

JITTER = 0.2  # a share to either side, so that what failed together does not come back together
LAST_TRY = timedelta(minutes=1)  # before the deadline, when the next try would fall behind it
# A site that is left alone for a minute at most is tried several times meanwhile.
OVERTIME = timedelta(minutes=5)  # behind the deadline, for a try that could not be made at once


def next_delay(schedule: RetrySchedule, attempts: int, dice: random.Random) -> timedelta:
    """Return how long to wait after the attempt that was number `attempts`, from 1."""
    longest = schedule.longest.total_seconds()
    try:
        grown = schedule.first.total_seconds() * schedule.factor ** max(0, attempts - 1)
    except OverflowError:
        grown = longest  # a short schedule with a long lifetime makes thousands of attempts
    delay = min(grown, longest)
    return timedelta(seconds=delay * dice.uniform(1 - JITTER, 1 + JITTER))


def next_try(
    schedule: RetrySchedule,
    *,
    attempts: int,
    deadline: datetime,
    now: datetime,
    dice: random.Random,
) -> datetime | None:
    """Return when to try again, None to give up: then the queue lifetime is over."""
    due = now + next_delay(schedule, attempts, dice)
    return in_time(due, deadline=deadline, now=now)


def in_time(due: datetime, *, deadline: datetime, now: datetime) -> datetime | None:
    """Return when to try what is due then, None to give up: then the queue lifetime is over."""
    if now >= deadline:
        return None
    # Never past the deadline without one last try just before it, and that one is the last.
    last = deadline - LAST_TRY if now < deadline - LAST_TRY else deadline
    return max(now + timedelta(seconds=1), min(due, last))


def overtime(*, deadline: datetime, now: datetime) -> datetime | None:
    """Return until when mail has a try that is to be tried now, None where its time is not over."""
    return now + OVERTIME if now >= deadline else None


def warns(schedule: RetrySchedule, *, arrival: datetime, warned: bool, now: datetime) -> bool:
    """Whether the sender is to be told now that the message is delayed."""
    if warned or schedule.delay_warning is None:
        return False
    return now - arrival >= schedule.delay_warning
