"""
Notices a stream that takes no records while the queue is well otherwise. Pure.

It is known from this process's own publishes alone, since a test record would be mail. A stream
refuses if every publish failed for some time: with an error, or without an answer. An election of a
leader is over sooner. Nothing counts while the whole queue is away, and that storage is full counts
only if another stream took something meanwhile. What has not failed again for some minutes is
forgotten: perhaps nobody has published since.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from postroad.spool.errors import SpoolError, SpoolFull
from postroad.spool.jetstream.nats.requests import NoResponders

_FORGOTTEN_AFTER = timedelta(minutes=5).total_seconds()


@dataclass(slots=True)
class _Trouble:
    first: float
    last: float
    why: str
    full: bool


def kind_of(error: SpoolError) -> str:
    """Return a word for what a publish got: JetStream's code, `no-leader`, `no-answer`."""
    if error.code:
        return str(error.code)
    return "no-leader" if isinstance(error, NoResponders) else "no-answer"


class Refusals:
    """The troubles of each stream; times are seconds of one monotonic clock."""

    def __init__(self, *, after: timedelta) -> None:
        self._after = after.total_seconds()
        self._troubles: dict[str, _Trouble] = {}
        self._stored: dict[str, float] = {}

    def failed(self, stream: str, error: SpoolError, now: float) -> None:
        """Note a failed try to publish to a stream."""
        trouble = self._troubles.get(stream)
        if trouble is None or now - trouble.last > _FORGOTTEN_AFTER:
            trouble = self._troubles[stream] = _Trouble(now, now, "", full=False)
        trouble.last, trouble.why = now, str(error)
        trouble.full = isinstance(error, SpoolFull)

    def stored(self, stream: str, now: float) -> None:
        """Note that a stream took a publish."""
        self._stored[stream] = now
        self._troubles.pop(stream, None)

    def forget(self) -> None:
        """Forget all failures: the whole queue was away."""
        self._troubles.clear()

    def found(self, now: float) -> Mapping[str, str]:
        """Return the streams that refuse, by name, and the last error of each."""
        return {
            stream: trouble.why
            for stream, trouble in sorted(self._troubles.items())
            if trouble.last - trouble.first >= self._after
            and now - trouble.last <= _FORGOTTEN_AFTER
            and not (trouble.full and self._nothing_since(trouble.first))
        }

    def tried(self, stream: str) -> float:
        """Return when a stream failed last, -inf if it did not."""
        trouble = self._troubles.get(stream)
        return trouble.last if trouble is not None else float("-inf")

    def _nothing_since(self, first: float) -> bool:
        return all(moment < first for moment in self._stored.values())
