"""
Which addresses gave no connection, or no greeting, a while ago. No I/O; the clock is an argument.

A dead address costs a time-out with each mail that tries it before the next one. So it is left out
as long as there are others: for a minute, then for twice as long each time that it is still dead.
After that one mail finds out, and all others go on without it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

_FIRST, _LONGEST = 60.0, 600.0  # seconds
_A_TRY = 60.0  # seconds for which one mail finds out
_MANY = 10_000


class NetworkPath(NamedTuple):
    """Where to, and from which address: another one may get through."""

    address: str
    port: int
    source: str | None = None


@dataclass(slots=True)
class _Outage:
    until: float
    lasts: float


class Outages:
    """The dead addresses that a process knows of; the longest known are forgotten first."""

    def __init__(self) -> None:
        self._found: OrderedDict[NetworkPath, _Outage] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._found)

    def has(self, path: NetworkPath, now: float) -> bool:
        """Whether an address is better left out."""
        outage = self._found.get(path)
        return outage is not None and now < outage.until

    def tries(self, path: NetworkPath, now: float) -> None:
        """An address is about to be tried: if it was dead, nobody else does so meanwhile."""
        outage = self._found.get(path)
        if outage is not None:
            outage.until = max(outage.until, now + _A_TRY)

    def fails(self, path: NetworkPath, now: float) -> None:
        """An address gave no connection or no greeting."""
        before = self._found.pop(path, None)
        lasts = min(2 * before.lasts, _LONGEST) if before is not None else _FIRST
        self._found[path] = _Outage(now + lasts, lasts)
        while len(self._found) > _MANY:
            self._found.popitem(last=False)

    def answers(self, path: NetworkPath) -> None:
        """An address gave a greeting, whatever it said."""
        self._found.pop(path, None)
