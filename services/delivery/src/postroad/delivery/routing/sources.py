"""
Which of an egress path's sources a message is sent from.

One is drawn, by weight, as the message comes to its site: a connection that is in use goes on with
mail of its own source, and drawing again would give it more than its weight. Only where no host has
an address of that source's family is another drawn, among those that suit.
"""

import random
from collections.abc import Iterable, Sequence

from postroad.delivery.routing.addresses import is_v6
from postroad.delivery.routing.routes import MailHost
from postroad.policy.model import Source


def draw(sources: Sequence[Source]) -> Source | None:
    """Draw a source by weight, None where there are none."""
    if not sources:
        return None
    return random.choices(sources, [max(0, source.weight) for source in sources])[0]


def suiting(
    source: Source | None, sources: Sequence[Source], hosts: Iterable[MailHost]
) -> Source | None:
    """Return the source, or another that can reach a host where this one cannot, if there is."""
    if source is None or source.address is None:
        return source
    families = {is_v6(address) for host in hosts for address in host.addresses}
    if is_v6(source.address) in families:
        return source
    others = [each for each in sources if each.address is None or is_v6(each.address) in families]
    return draw(others) or source
