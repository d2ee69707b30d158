"""
The figures of a load: counts, rates and latencies, in little memory.

Latencies are kept in a histogram whose buckets grow by 2 %. So a percentile is right within 1 %,
and a million messages take no more memory than ten.
"""

import math
from dataclasses import dataclass, field

_SHORTEST = 1e-5  # seconds; a shorter latency counts as this
_GROWTH = math.log(1.02)
_BUCKETS = 1000  # up to more than an hour


@dataclass
class Latencies:
    """A distribution of durations in seconds."""

    count: int = 0
    longest: float = 0.0
    _buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        if seconds > self.longest:
            self.longest = seconds
        bucket = int(math.log(seconds / _SHORTEST) / _GROWTH) if seconds > _SHORTEST else 0
        self._buckets[min(bucket, _BUCKETS - 1)] += 1

    def percentile(self, share: float) -> float:
        """Return the duration in seconds that `share` (0 to 1) of all do not exceed; 0 for none."""
        wanted = share * self.count
        passed = 0
        for bucket, number in enumerate(self._buckets):
            passed += number
            if number and passed >= wanted:
                return min(_SHORTEST * math.exp((bucket + 0.5) * _GROWTH), self.longest)
        return 0.0


@dataclass
class LoadFigures:
    """The counts of a load, while it runs and when it has ended."""

    accepted: int = 0  # final dots answered by 250
    deferred: int = 0  # messages answered by 4yz, at whatever command
    rejected: int = 0  # messages answered by 5yz
    ambiguous: int = 0  # connections lost between a final dot and its answer
    lost: int = 0  # connections that ended before their QUIT
    refused: int = 0  # connections that could not be opened
    connections: int = 0
    greetings: int = 0  # connections that were greeted
    ready: int = 0  # how often a connection was ready for a message
    recipients: int = 0  # of accepted messages
    octets: int = 0  # of accepted messages
    latencies: Latencies = field(default_factory=Latencies)  # from a final dot to its 250
    first_refusal: str = ""
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """Messages with a final result of any kind."""
        return self.accepted + self.deferred + self.rejected + self.ambiguous

    def refusal(self, line: bytes) -> None:
        """Count a message that was answered by 4yz or 5yz."""
        if line.startswith(b"4"):
            self.deferred += 1
        else:
            self.rejected += 1
        if not self.first_refusal:
            self.first_refusal = line.decode("ascii", "replace")

    def summary(self) -> dict[str, object]:
        """Return the figures by name, durations in seconds."""
        seconds = max(self.seconds, 1e-9)
        return {
            "seconds": round(self.seconds, 3),
            "accepted": self.accepted,
            "deferred": self.deferred,
            "rejected": self.rejected,
            "ambiguous": self.ambiguous,
            "connections": self.connections,
            "connections_lost": self.lost,
            "connections_refused": self.refused,
            "recipients": self.recipients,
            "octets": self.octets,
            "messages_per_second": round(self.accepted / seconds, 1),
            "octets_per_second": round(self.octets / seconds),
            "latency_p50": self._latency(self.latencies.percentile(0.5)),
            "latency_p90": self._latency(self.latencies.percentile(0.9)),
            "latency_p99": self._latency(self.latencies.percentile(0.99)),
            "latency_max": self._latency(self.latencies.longest),
            "first_refusal": self.first_refusal or None,
        }

    def _latency(self, seconds: float) -> float | None:
        """Return a latency rounded for JSON, None if nothing was accepted."""
        return round(seconds, 6) if self.latencies.count else None
