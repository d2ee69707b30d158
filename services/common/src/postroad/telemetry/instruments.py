"""
Counters and histograms that are cheap to update.

The event loop updates them several times a message, and they are read only when /metrics is served.
So they are plain numbers. Those of prometheus_client take a lock and check their kind each time,
which makes some fifty calls a message. Threads may update them as well.
"""

import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Self


class _Instrument(ABC):
    """One series; or, with labels, a family of series, which holds no number itself."""

    def __init__(self, label_names: Sequence[str] = ()) -> None:
        self.label_names = tuple(label_names)
        self._series: dict[tuple[str, ...], Self] = {}
        if not label_names:
            self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Set the number of a new series to its first value."""

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
        """Return each series with the values of its labels."""
        return list(self._series.items()) if self.label_names else [((), self)]


class Counter(_Instrument):
    """A number that only grows."""

    def _begin(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which is never negative."""
        self.value += amount


class Histogram(_Instrument):
    """A distribution: how many observed amounts were within each bound, and their sum."""

    def __init__(self, bounds: Sequence[float], label_names: Sequence[str] = ()) -> None:
        self.bounds = tuple(map(float, bounds))
        super().__init__(label_names)

    def _begin(self) -> None:
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def _alike(self) -> Self:
        return type(self)(self.bounds)

    def observe(self, amount: float) -> None:
        """Count one amount."""
        self.sum += amount
        self._counts[bisect_left(self.bounds, amount)] += 1

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe how many seconds a block takes, whether or not it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    def cumulative(self) -> list[int]:
        """Return the number of amounts within each bound; the last is the number of all."""
        return list(accumulate(self._counts))
