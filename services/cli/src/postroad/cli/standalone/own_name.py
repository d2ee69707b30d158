"""
Whether the name this relay has will do for the hosts it is to talk to.

`localhost`, and any name without a dot, is all that a machine without a full name has to say in
EHLO, trace fields and notifications; many hosts refuse it.
"""

from collections.abc import Iterable

from postroad.manifests.kinds.relay import is_loopback
from postroad.policy.model import Domain, EgressPath, Entry, Relay


def is_too_short(name: str, entries: Iterable[Entry]) -> bool:
    """Whether `name` is no full host name while mail leaves this machine."""
    return "." not in name and any(_leaves(egress_path) for egress_path in _egress_paths(entries))


def _egress_paths(entries: Iterable[Entry]) -> Iterable[EgressPath]:
    for entry in entries:
        if isinstance(entry, Relay):
            yield entry.egress_path
        elif isinstance(entry, Domain) and entry.receive is not None:
            yield entry.receive.egress_path


def _leaves(egress_path: EgressPath) -> bool:
    return egress_path.by_mx or not all(is_loopback(hop.host) for hop in egress_path.smarthosts)
