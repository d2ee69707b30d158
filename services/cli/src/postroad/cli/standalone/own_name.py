"""
Whether the name this relay has will do for the hosts it is to talk to.

`localhost`, and any name without a dot, is all that a machine without a full name has to say in
EHLO, trace fields and notifications; many hosts refuse it.
"""

from collections.abc import Iterable

from postroad.manifests.kinds.relay import is_loopback
from postroad.policy.model import Domain, Entry, Relay, WayOut


def is_too_short(name: str, entries: Iterable[Entry]) -> bool:
    """Whether `name` is no full host name while mail leaves this machine."""
    return "." not in name and any(_leaves(way_out) for way_out in _ways_out(entries))


def _ways_out(entries: Iterable[Entry]) -> Iterable[WayOut]:
    for entry in entries:
        if isinstance(entry, Relay):
            yield entry.way_out
        elif isinstance(entry, Domain) and entry.receive is not None:
            yield entry.receive.way_out


def _leaves(way_out: WayOut) -> bool:
    return way_out.by_mx or not all(is_loopback(hop.host) for hop in way_out.smarthosts)
