"""The pauses of loops that retry."""

import random
from datetime import timedelta

from postroad.process.background.backoff import Backoff

BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=10))


class Highest:
    def uniform(self, _: float, b: float) -> float:
        return b


class Lowest:
    def uniform(self, a: float, _: float) -> float:
        return a


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [BACKOFF.seconds(failures, Highest()) for failures in range(1, 8)]
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_pause_is_half_as_long_at_least_so_that_no_two_tries_follow_at_once() -> None:
    assert [BACKOFF.seconds(failures, Lowest()) for failures in (1, 2, 9)] == [0.25, 0.5, 5]


def test_those_who_failed_together_do_not_come_back_together() -> None:
    assert BACKOFF.seconds(5, random.Random(1)) != BACKOFF.seconds(5, random.Random(2))


def test_failures_without_end_are_no_error() -> None:
    assert BACKOFF.seconds(10**6, Highest()) == 10
