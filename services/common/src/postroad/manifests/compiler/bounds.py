"""
Checks what the servers can bear: how large an object is, and how many egress pools Relays name.

NATS servers refuse values over their `max_payload`. Nearly all objects are far smaller, so only
objects with hundreds of items are encoded to measure them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from postroad.manifests.compiler.findings import Finding, refused
from postroad.manifests.compiler.result import Reason
from postroad.manifests.objects import Declared
from postroad.policy.codec import encode_entry
from postroad.policy.model import (
    ClaimBasis,
    Client,
    Domain,
    Entry,
    Reach,
    Relay,
    ScramVerifier,
    qualified,
)
from postroad.policy.secrets.scram import ITERATIONS
from postroad.policy.secrets.seal import SALT_BYTES, Keyrings
from postroad.spool.lanes.assignment import DEFAULT_POOL
from postroad.spool.lanes.layout import MOST_CONSUMERS, Layout

_LARGEST_ITEM = 4000  # octets; a pattern has 320 characters, and JSON writes one in 12 at most
_BESIDE_LISTS = 128 * 1024  # octets, for 64 hosts, 64 sources and a sealed login
_VERIFIER = ScramVerifier(bytes(SALT_BYTES), ITERATIONS, bytes(32), bytes(32))  # SHA-256


@dataclass(frozen=True, slots=True)
class Bound:
    """The limit of an object: `largest` octets in its stored form, with its secrets sealed."""

    keyrings: Keyrings
    largest: int

    def check(self, declared: Declared, entry: Entry, stored: Entry | None) -> list[Finding]:
        """Return a finding if the object is too large and is not stored already."""
        lists = _lists(entry)
        if _BESIDE_LISTS + sum(lists.values()) * _LARGEST_ITEM <= self.largest:
            return []
        entry = _undecided(entry)
        if stored is not None and entry == _undecided(stored):
            return []
        size = len(encode_entry(declared.reference.entry_key, entry, self.keyrings))
        if size <= self.largest:
            return []
        longest = max(lists, key=lists.__getitem__)
        message = (
            f"the stored object would have {size} octets, and at most {self.largest} are allowed;"
            " shorten this list, its longest"
        )
        return [refused(Reason.TOO_LARGE, message, *longest)]


class EgressPools:
    """
    The pools of the Relays that were compiled so far, the oldest Relays first.

    `layout` is that of replicated servers, None if there are none, as under `postroad up`.
    """

    def __init__(self, layout: Layout | None) -> None:
        self._layout = layout
        self._named = {DEFAULT_POOL}

    def check(self, pool: str) -> list[Finding]:
        """Return a finding if a Relay's pool is one too many."""
        pools = len(self._named | {pool})
        needed = self._layout.consumers(pools) if self._layout is not None else 0
        if pool not in self._named and needed > MOST_CONSUMERS:
            message = (
                f"with this egress pool, the servers would have {needed} consumers for {pools}"
                f" pools, and at most {MOST_CONSUMERS} are allowed"
            )
            return [refused(Reason.TOO_MANY_POOLS, message, "egress", "pool")]
        self._named.add(pool)
        return []


def _undecided(entry: Entry) -> Entry:
    """Return an entry before its claim or username is decided, with the longest that there is."""
    if isinstance(entry, Domain):
        return replace(entry, claim=ClaimBasis.PLATFORM, reach=Reach.EVERYBODY)
    if isinstance(entry, Client) and entry.username is not None:
        longest = qualified(entry.key.namespace, entry.username)
        return replace(entry, username=longest, verifier=_VERIFIER)
    return entry


def _lists(entry: Entry) -> Mapping[tuple[str, ...], int]:
    """Count the items of each list that may have more than some dozens, by its field."""
    match entry:
        case Domain():
            recipients = (entry.receive and entry.receive.recipients) or ()
            return {
                ("receive", "recipients", "addresses"): len(recipients),
                ("allowedNamespaces",): len(entry.admits or ()),
            }
        case Relay():
            return {("destinations",): len(entry.destinations)}
        case Client():
            return {("senders",): len(entry.senders), ("networks",): len(entry.networks)}
    return {}
