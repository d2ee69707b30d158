"""
Checks whether an object is too large to be stored, and finds its longest list.

NATS servers refuse values over their `max_payload`. Nearly all objects are far smaller, so only
objects with hundreds of items are encoded to measure them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from postroad.manifests.compiler.findings import Finding, refused
from postroad.manifests.compiler.result import Reason
from postroad.manifests.objects import Declared
from postroad.policy.codec import encode_entry
from postroad.policy.model import ClaimBasis, Client, Domain, Entry, Reach, Relay
from postroad.policy.secrets.seal import Keyrings

_LARGEST_ITEM = 4000  # octets; a pattern has 320 characters, and JSON writes one in 12 at most
_BESIDE_LISTS = 128 * 1024  # octets, for 64 hosts, 64 sources and a sealed login


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


def _undecided(entry: Entry) -> Entry:
    """Return an entry as it is before its claim is decided, with the longest that there is."""
    if not isinstance(entry, Domain):
        return entry
    return replace(entry, claim=ClaimBasis.PLATFORM, reach=Reach.EVERYBODY)


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
