"""
Checks whether the relay's own name is good enough for other mail hosts.

The relay uses its name in EHLO, trace fields and notifications. A machine without a full host name
has only `localhost` or a name without a dot, which many hosts refuse.
"""

from collections.abc import Iterable

from postroad.manifests.kinds.relay import is_loopback
from postroad.policy.model import Domain, EgressPath, Entry, Relay


def is_too_short(name: str, entries: Iterable[Entry]) -> bool:
    """Whether `name` is no full host name although mail leaves this machine."""
    return "." not in name and any(_leaves(egress_path) for egress_path in _egress_paths(entries))


def _egress_paths(entries: Iterable[Entry]) -> Iterable[EgressPath]:
    for entry in entries:
        if isinstance(entry, Relay):
            yield entry.egress_path
        elif isinstance(entry, Domain) and entry.receive is not None:
            yield entry.receive.egress_path


def _leaves(egress_path: EgressPath) -> bool:
    return egress_path.by_mx or not all(is_loopback(hop.host) for hop in egress_path.smarthosts)
