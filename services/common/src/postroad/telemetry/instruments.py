"""
What a process counts with: numbers that only grow, and distributions of what it measures.

They are written by the event loop several times for each message, and read when somebody asks for
/metrics. So they are plain numbers: prometheus_client's own take a lock and look at what they are
each time, some fifty calls a message. A thread may count too: it is interrupted between two calls,
never within an addition.
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Self


class _Instrument:
    """A series, or with labels the series by their values; then it counts nothing itself."""

    def __init__(self, label_names: Sequence[str] = ()) -> None:
        self.label_names = tuple(label_names)
        self._series: dict[tuple[str, ...], Self] = {}
        if not label_names:
            self._begin()

    def _begin(self) -> None:
        raise NotImplementedError

    def _alike(self) -> Self:
        return type(self)()

    def labels(self, *values: str) -> Self:
        """Return the series with these values of the labels; the same each time."""
        series = self._series.get(values)
        if series is None:
            if not values or len(values) != len(self.label_names):
                raise ValueError(f"{len(values)} values for the labels {self.label_names}")
            series = self._series[values] = self._alike()
        return series

    def series(self) -> list[tuple[tuple[str, ...], Self]]:
        """Return each series, behind the values of its labels."""
        return list(self._series.items()) if self.label_names else [((), self)]


class Counter(_Instrument):
    """A number that only grows."""

    def _begin(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count one more, or as many as `amount`, which is never negative."""
        self.value += amount


class Histogram(_Instrument):
    """How often something was how large: within each of its bounds, and in all."""

    def __init__(self, bounds: Sequence[float], label_names: Sequence[str] = ()) -> None:
        self.bounds = tuple(map(float, bounds))
        super().__init__(label_names)

    def _begin(self) -> None:
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def _alike(self) -> Self:
        return type(self)(self.bounds)

    def observe(self, amount: float) -> None:
        """Count one that was so large."""
        self.sum += amount
        self._counts[bisect_left(self.bounds, amount)] += 1

    @contextmanager
    def time(self) -> Iterator[None]:
        """Count how many seconds a block takes, however it ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    def cumulative(self) -> list[int]:
        """Return how many were within each bound, and last how many there were."""
        return list(accumulate(self._counts))
