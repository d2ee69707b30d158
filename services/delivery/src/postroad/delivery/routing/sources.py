"""
Chooses the source of an egress path from which a message is sent.

It is drawn by weight once, when the message comes to its site. A connection continues with mail of
its own source, so drawing again for it would give that source more than its weight. Another source
is drawn only if no host has an address of the source's family.
"""

import random
from collections.abc import Iterable, Sequence

from postroad.delivery.routing.addresses import is_v6
from postroad.delivery.routing.routes import MailHost
from postroad.policy.model import Source


def draw(sources: Sequence[Source]) -> Source | None:
    """Draw a source by weight, None without sources."""
    if not sources:
        return None
    return random.choices(sources, [max(0, source.weight) for source in sources])[0]


def suiting(
    source: Source | None, sources: Sequence[Source], hosts: Iterable[MailHost]
) -> Source | None:
    """Return the source, or another one if only that has the address family of a host."""
    if source is None or source.address is None:
        return source
    families = {is_v6(address) for host in hosts for address in host.addresses}
    if is_v6(source.address) in families:
        return source
    others = [each for each in sources if each.address is None or is_v6(each.address) in families]
    return draw(others) or source
