"""
Chooses the source of an egress path from which a message is sent. No I/O; the clock is an argument.

It is drawn by weight once, when the message comes to its site. A connection continues with mail of
its own source, so drawing again for it would give that source more than its weight. Another source
is drawn only if no host has an address of the source's family, or if this machine does not have the
source's address. Such an address is left out for a while.
"""

import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from postroad.delivery.routing.addresses import is_v6
from postroad.delivery.routing.routes import MailHost
from postroad.policy.model import Source

_LEFT_OUT = 60.0  # seconds
_MANY = 1_000


class MissingSources:
    """Source addresses that this machine did not have a while ago."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def fails(self, address: str, now: float) -> bool:
        """A connection could not leave from an address; return whether that is new."""
        is_new = address not in self._until
        self._until[address] = now + _LEFT_OUT
        while len(self._until) > _MANY:
            self._until.popitem(last=False)
        return is_new

    def works(self, address: str | None) -> None:
        """A connection has left from an address."""
        if address is not None and self._until:
            self._until.pop(address, None)

    def has(self, source: Source, now: float) -> bool:
        """Whether a source is better left out."""
        return source.address is not None and self._until.get(source.address, 0.0) > now


def draw(sources: Sequence[Source]) -> Source | None:
    """Draw a source by weight, None without sources."""
    if not sources:
        return None
    return random.choices(sources, [max(0, source.weight) for source in sources])[0]


def suiting(
    source: Source | None,
    sources: Sequence[Source],
    hosts: Iterable[MailHost],
    missing: MissingSources,
    now: float,
) -> Source | None:
    """
    Return the source, or another one that suits better.

    A source suits if it has the address family of a host. Of those that do, `missing` ones are
    chosen only if there is no other.
    """
    if source is None or source.address is None:
        return source
    families = {is_v6(address) for host in hosts for address in host.addresses}
    fits = is_v6(source.address) in families
    if fits and not missing.has(source, now):
        return source
    fitting = [each for each in sources if each.address is None or is_v6(each.address) in families]
    at_hand = [each for each in fitting if not missing.has(each, now)]
    return draw(at_hand) or (source if fits else draw(fitting)) or source
