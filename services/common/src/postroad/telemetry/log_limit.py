"""
Limits the log lines that strangers can cause, for each network and in total.

Anybody can fail a login, be refused or break off a handshake a thousand times a second. All those
lines would push others out of the log and out of the mail history. So each kind of line has two
budgets: one for each network, and one for all networks. Lines beyond them are only counted. The
next line of the same kind and network has the number left out before it, and once a minute a line
has the total.
"""

import asyncio
import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass

from postroad.mail.ip_address import Address
from postroad.telemetry.logs import get_logger

_NETWORK_V6 = 64  # bits: a host with one IPv6 address usually has a whole /64
_MOST_NETWORKS = 4096  # remembered; the least recently seen is forgotten first
_REPORTS_EVERY = 60.0  # seconds

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Budget:
    """A token bucket: so many lines at once, and so many a second after that."""

    burst: int
    per_second: float


OF_ONE_NETWORK = Budget(20, 0.2)
OF_ALL = Budget(200, 10.0)


def network_of(address: Address) -> str:
    """Return the network that an address is counted for: an IPv4 address itself, an IPv6 /64."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, _NETWORK_V6), strict=False))


@dataclass(slots=True)
class _Bucket:
    """What is left of a budget."""

    tokens: float
    at: float
    left_out: int = 0

    def fill(self, budget: Budget, now: float) -> None:
        grown = self.tokens + (now - self.at) * budget.per_second
        self.tokens, self.at = min(float(budget.burst), grown), now


class LineLimit:
    """Decides for each line whether it is written; `now` defaults to the event loop's time."""

    def __init__(self, of_one: Budget = OF_ONE_NETWORK, of_all: Budget = OF_ALL) -> None:
        self._of_one = of_one
        self._of_all = of_all
        self._networks: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._all: dict[str, _Bucket] = {}
        self._unreported: Counter[str] = Counter()

    def admit(self, kind: str, network: str, now: float | None = None) -> int | None:
        """Return how many similar lines were left out before; None if this one is left out too."""
        now = asyncio.get_running_loop().time() if now is None else now
        everybody = self._all.get(kind)
        if everybody is None:
            everybody = self._all[kind] = _Bucket(float(self._of_all.burst), now)
        bucket = self._bucket(kind, network, now)
        bucket.fill(self._of_one, now)
        everybody.fill(self._of_all, now)
        if bucket.tokens < 1 or everybody.tokens < 1:
            bucket.left_out += 1
            self._unreported[kind] += 1
            return None
        bucket.tokens -= 1
        everybody.tokens -= 1
        left_out, bucket.left_out = bucket.left_out, 0
        return left_out

    def _bucket(self, kind: str, network: str, now: float) -> _Bucket:
        bucket = self._networks.get((kind, network))
        if bucket is None:
            bucket = self._networks[kind, network] = _Bucket(float(self._of_one.burst), now)
            if len(self._networks) > _MOST_NETWORKS:
                self._networks.popitem(last=False)
        else:
            self._networks.move_to_end((kind, network))
        return bucket

    def take_report(self) -> dict[str, int]:
        """Return how many lines of each kind were left out since the last call."""
        report = dict(self._unreported)
        self._unreported.clear()
        return report


async def report(*limits: LineLimit) -> None:
    """Log once a minute how many lines were left out, until cancelled."""
    while True:
        await asyncio.sleep(_REPORTS_EVERY)
        for limit in limits:
            for kind, count in limit.take_report().items():
                log.warning("lines were left out", reason=kind, count=count)
