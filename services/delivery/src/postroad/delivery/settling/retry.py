"""When to try again, when to warn the sender, when to give up. No I/O; time is an argument."""

import random
from datetime import datetime, timedelta

from postroad.policy.model import RetrySchedule

JITTER = 0.2  # random part of a delay, so that mail that failed together is not retried together
LAST_TRY = timedelta(minutes=1)  # before the deadline, if the next try would come after it
# A site that is down is tried again after a minute at most, so several times within this.
OVERTIME = timedelta(minutes=5)  # after the deadline, for a last try that was not possible at once


def next_delay(schedule: RetrySchedule, attempts: int, dice: random.Random) -> timedelta:
    """Return how long to wait after so many attempts, counted from 1."""
    longest = schedule.longest.total_seconds()
    try:
        grown = schedule.first.total_seconds() * schedule.factor ** max(0, attempts - 1)
    except OverflowError:
        grown = longest  # a schedule may allow thousands of attempts
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
    """Return when to make a try that is due, None to give up: then the queue lifetime is over."""
    if now >= deadline:
        return None
    # A try after the deadline is moved to just before it, and is the last one.
    last = deadline - LAST_TRY if now < deadline - LAST_TRY else deadline
    return max(now + timedelta(seconds=1), min(due, last))


def overtime(*, deadline: datetime, now: datetime) -> datetime | None:
    """Return until when mail may wait for a last try, None before its deadline."""
    return now + OVERTIME if now >= deadline else None


def warns(schedule: RetrySchedule, *, arrival: datetime, warned: bool, now: datetime) -> bool:
    """Whether to send the delay warning now."""
    if warned or schedule.delay_warning is None:
        return False
    return now - arrival >= schedule.delay_warning
