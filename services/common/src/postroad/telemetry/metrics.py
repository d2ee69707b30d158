"""
The Prometheus metrics of a process; the only module that uses prometheus_client.

A package declares its metrics at import, in its `metrics` module, through a `Group`. A declaration
has the help, the labels and what to watch; docs/metrics.md is generated from it (`metrics_page`).
It also gives the values of each label: either a closed set, whose series exist from the start at
zero, or a sentence that says what bounds them. Values that come with the mail (queue ids,
addresses, domains, hosts) are refused as labels, because each one costs memory for the process's
whole life.

On the hot path use series bound once: `ACCEPTED = MESSAGES.labels("accepted")` at import, then
`ACCEPTED.inc()`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from math import prod
from types import MappingProxyType
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from postroad.telemetry.exposition import Format
from postroad.telemetry.instruments import Counter, Histogram

__all__ = ["BYTES", "SECONDS", "Counter", "Gauge", "Group", "Histogram", "exposition"]

# From a reply within 1 ms to a delivery of minutes; from a short message to the limit of 50 MB.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BYTES = (1e3, 4e3, 16e3, 64e3, 128e3, 256e3, 1e6, 4e6, 10e6, 25e6, 50e6)

Labels = Mapping[str, Sequence[str] | str]

MAX_CLOSED_SERIES = 200

_NAME = re.compile(r"postroad_[a-z0-9]+(?:_[a-z0-9]+)*")
_UNBOUNDED = frozenset(
    {
        *("queue_id", "record_id", "session_id", "reverse_path", "recipient", "address", "peer"),
        *("host", "domain", "site", "helo", "reply", "reason", "error", "tag", "process"),
    }
)
_NO_LABELS: Labels = MappingProxyType({})

M = TypeVar("M", Counter, Gauge, Histogram)

# The `_created` series would double the page, and Prometheus does not need them.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A metric as its documentation shows it."""

    group: str
    name: str
    kind: str
    help: str
    labels: Labels
    watch: str


@dataclass(frozen=True, slots=True)
class GroupText:
    """A heading of the documentation and the sentence under it."""

    title: str
    text: str


declared: list[Declaration] = []
groups: list[GroupText] = []


class Group:
    """The metrics of one package; `title` and `text` head them in the documentation."""

    def __init__(self, title: str, text: str) -> None:
        self._title = title
        groups.append(GroupText(title, text))

    def counter(
        self, name: str, help: str, *, labels: Labels = _NO_LABELS, watch: str = ""
    ) -> Counter:
        """Declare a number that only grows; its name ends in _total."""
        if not name.endswith("_total"):
            raise ValueError(f"{name}: a counter's name ends in _total")
        self._declare(name, "counter", help, labels, watch)
        counter = Counter(tuple(labels))
        REGISTRY.register(_Counted(name, help, counter))
        return _at_zero(counter, labels)

    def gauge(self, name: str, help: str, *, labels: Labels = _NO_LABELS, watch: str = "") -> Gauge:
        """Declare a number that goes up and down."""
        if name.endswith("_total"):
            raise ValueError(f"{name}: only a counter's name ends in _total")
        self._declare(name, "gauge", help, labels, watch)
        return _at_zero(Gauge(name, help, tuple(labels), registry=REGISTRY), labels)

    def histogram(
        self,
        name: str,
        help: str,
        *,
        labels: Labels = _NO_LABELS,
        buckets: Sequence[float] = SECONDS,
        watch: str = "",
    ) -> Histogram:
        """Declare a distribution; its name ends in its unit, _seconds or _bytes or a plural."""
        if buckets is SECONDS and not name.endswith("_seconds"):
            raise ValueError(f"{name}: a histogram of durations ends in _seconds")
        self._declare(name, "histogram", help, labels, watch)
        histogram = Histogram(buckets, tuple(labels))
        REGISTRY.register(_Measured(name, help, histogram))
        return _at_zero(histogram, labels)

    def _declare(self, name: str, kind: str, help: str, labels: Labels, watch: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name}: not a lower-case name that starts with postroad_")
        open_labels = {label for label, values in labels.items() if isinstance(values, str)}
        if unbounded := _UNBOUNDED & open_labels:
            raise ValueError(f"{name}: nothing bounds the label {', '.join(sorted(unbounded))}")
        declared.append(Declaration(self._title, name, kind, help, labels, watch))


class _Counted:
    """The registry's view of a counter."""

    def __init__(self, name: str, help: str, counter: Counter) -> None:
        self._name = name
        self._help = help
        self._counter = counter

    def describe(self) -> list[Metric]:
        """Return its name and kind."""
        return [self._family()]

    def collect(self) -> list[Metric]:
        """Return its series as they are now."""
        family = self._family()
        for values, series in self._counter.series():
            family.add_metric(values, series.value)
        return [family]

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._help, labels=self._counter.label_names)


class _Measured:
    """The registry's view of a histogram."""

    def __init__(self, name: str, help: str, histogram: Histogram) -> None:
        self._name = name
        self._help = help
        self._histogram = histogram
        self._bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]

    def describe(self) -> list[Metric]:
        """Return its name and kind."""
        return [self._family()]

    def collect(self) -> list[Metric]:
        """Return its series as they are now."""
        family = self._family()
        for values, series in self._histogram.series():
            counts = zip(self._bounds, series.cumulative(), strict=True)
            family.add_metric(values, list(counts), series.sum)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._help, labels=self._histogram.label_names)


def _at_zero(metric: M, labels: Labels) -> M:
    # rate() and alerts miss the first increase of a counter that first appears at 1.
    closed = [values for values in labels.values() if not isinstance(values, str)]
    if labels and len(closed) == len(labels) and prod(map(len, closed)) <= MAX_CLOSED_SERIES:
        for values in product(*closed):
            metric.labels(*values)
    return metric


def exposition(wanted: Format = Format.TEXT) -> str:
    """Return every metric of this process in the wanted format."""
    write = openmetrics.generate_latest if wanted is Format.OPENMETRICS else generate_latest
    return write(REGISTRY).decode("utf-8")


RUNTIME = Group("Every process", "Each process of the cluster serves these.")
RUNTIME.gauge(
    "postroad_build_info",
    "Always 1; the label is the version that runs.",
    labels={"version": "one per process"},
    watch="More than one version for longer than a rollout takes.",
).labels(version("postroad")).set(1)
READY = RUNTIME.gauge(
    "postroad_ready",
    "1 while the process can do its work, else 0; the same as /readyz.",
    watch="0 for more than a minute: /readyz and the log name the check that fails.",
)
LOG_LINES_DROPPED = RUNTIME.counter(
    "postroad_log_lines_dropped_total",
    "Log lines lost because the reader of standard error is too slow, or gone.",
    watch="Any growth: the log has gaps.",
)
