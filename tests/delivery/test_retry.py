"""When to try again, when to warn, when to give up."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.delivery.settling.retry import JITTER, LAST_TRY, next_delay, next_try, warns
from postroad.policy.model import RetrySchedule

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SCHEDULE = RetrySchedule(first=15 * MINUTE, factor=2, longest=60 * MINUTE)


class Loaded(random.Random):
    """Dice that always fall at one end."""

    def __init__(self, *, high: bool) -> None:
        super().__init__(0)
        self.high = high

    def uniform(self, a: float, b: float) -> float:
        return b if self.high else a


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 15), (2, 30), (3, 60), (4, 60), (50, 60), (100_000, 60)]
)
def test_delays_grow_to_the_longest_within_the_jitter(attempts: int, minutes: int) -> None:
    shortest = next_delay(SCHEDULE, attempts, Loaded(high=False))
    longest = next_delay(SCHEDULE, attempts, Loaded(high=True))
    assert shortest == minutes * MINUTE * (1 - JITTER)
    assert longest == minutes * MINUTE * (1 + JITTER)


@given(st.integers(1, 10_000), st.randoms())
def test_every_delay_is_within_the_bounds(attempts: int, dice: random.Random) -> None:
    delay = next_delay(SCHEDULE, attempts, dice)
    assert 15 * MINUTE * (1 - JITTER) <= delay <= 60 * MINUTE * (1 + JITTER)


def test_what_failed_together_does_not_come_back_together() -> None:
    dice = random.Random(1)
    assert len({next_delay(SCHEDULE, 1, dice) for _ in range(50)}) == 50


def due(now: datetime, deadline: datetime, schedule: RetrySchedule = SCHEDULE) -> datetime | None:
    return next_try(schedule, attempts=1, deadline=deadline, now=now, dice=random.Random(1))


def test_it_is_given_up_at_the_deadline_and_not_before() -> None:
    assert due(NOW, NOW) is None
    assert due(NOW, NOW - MINUTE) is None
    assert due(NOW - timedelta(seconds=0.001), NOW) is not None


def test_there_is_a_last_try_just_before_the_deadline() -> None:
    deadline = NOW + 10 * MINUTE
    assert due(NOW, deadline) == deadline - LAST_TRY


def test_after_the_last_try_it_is_not_tried_again_and_again() -> None:
    deadline = NOW + LAST_TRY
    moments, now = [], NOW
    while (again := due(now, deadline)) is not None:
        moments.append(again)
        now = again
    assert moments == [deadline]


def test_a_lifetime_shorter_than_a_minute_keeps_its_schedule() -> None:
    quick = RetrySchedule(first=timedelta(seconds=5), longest=timedelta(seconds=5))
    again = due(NOW, NOW + timedelta(seconds=30), quick)
    assert again is not None
    assert timedelta(seconds=4) <= again - NOW <= timedelta(seconds=6)


@pytest.mark.parametrize(
    ("delay_warning", "warned", "age", "expected"),
    [
        (4 * 60 * MINUTE, False, 4 * 60 * MINUTE, True),
        (4 * 60 * MINUTE, False, 4 * 60 * MINUTE - MINUTE, False),
        (4 * 60 * MINUTE, True, 9 * 60 * MINUTE, False),
        (None, False, 9 * 60 * MINUTE, False),
    ],
)
def test_the_sender_is_warned_once_when_it_is_time(
    delay_warning: timedelta | None, warned: bool, age: timedelta, expected: bool
) -> None:
    schedule = RetrySchedule(delay_warning=delay_warning)
    assert warns(schedule, arrival=NOW - age, warned=warned, now=NOW) is expected
