"""
Checks what the servers can bear: how large an object is, and how many egress pools Relays name.

NATS servers refuse values over their `max_payload`. Nearly all objects are far smaller, so only
objects with hundreds of items are encoded to measure them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from postroad.spool.lanes.layout import MOST_CONSUMERS, Layout
from postroad.spool.lanes.owners import DEFAULT_POOL

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


@dataclass(frozen=True, slots=True)
class RelayPool:
    """
    A Relay's egress pool: `wanted` by its manifest, and `kept` by its last good form.

    `wanted` is None if the manifest cannot be in force anyway, `kept` if there is no last good
    form.
    """

    wanted: str | None
    kept: str | None


class EgressPools:
    """
    Decides which Relays may have the pools that they name, given the oldest first.

    `layout` is that of replicated servers, None if there are none, as under `postroad up`. `others`
    are the pools that there are anyway: those in force of Relays that are not given, and those of
    whoever runs the relay, so that tenants who invent names take no room from them. A last good
    form has its pool for as long as it is in force. So a Relay may have to wait for a new pool
    until another one has left its own, unless all fit together once they are in force.
    """

    def __init__(self, layout: Layout | None, others: Iterable[str]) -> None:
        self._layout = layout
        self._always = {DEFAULT_POOL, *others}

    def check(self, relays: Sequence[RelayPool]) -> list[list[Finding]]:
        """Return the findings of each Relay: one if its pool is one too many."""
        findings: list[list[Finding]] = [[] for _ in relays]
        if self._layout is None or self._fit(
            {pool for r in relays if (pool := r.wanted or r.kept)}
        ):
            return findings
        named: set[str] = set()
        moving: list[int] = []
        for number, relay in enumerate(relays):
            if relay.wanted is None:
                continue
            if relay.wanted != relay.kept:
                moving.append(number)
            elif self._fit(named | {relay.wanted}):
                named.add(relay.wanted)
            else:
                findings[number] = [self._one_too_many(named | {relay.wanted})]
        held = Counter(relay.kept for relay in relays if relay.kept is not None)
        for number in self._move(moving, relays, held, named):
            findings[number] = [self._one_too_many(_beside(relays[number], held))]
        return findings

    def _move(
        self, moving: list[int], relays: Sequence[RelayPool], held: Counter[str], named: set[str]
    ) -> list[int]:
        """Let Relays have new pools as long as there is room; return the rest."""
        while True:
            # Those that name a pool which there is anyway may leave another one empty.
            there = self._always | named
            for number in moving:
                if relays[number].wanted in there:
                    _hold(relays[number], held)
            moving = [number for number in moving if relays[number].wanted not in there]
            fitting = (n for n in moving if self._fit(_beside(relays[n], held)))
            oldest = next(fitting, None)
            if oldest is None:
                return moving
            named.add(relays[oldest].wanted or DEFAULT_POOL)

    def _fit(self, pools: set[str]) -> bool:
        return self._consumers(pools) <= MOST_CONSUMERS

    def _consumers(self, pools: set[str]) -> int:
        assert self._layout is not None, "one server bears any number of pools"
        return self._layout.consumers(len(self._always | pools))

    def _one_too_many(self, pools: set[str]) -> Finding:
        message = (
            f"with this egress pool, the servers would have {self._consumers(pools)} consumers for"
            f" {len(self._always | pools)} pools, and at most {MOST_CONSUMERS} are allowed; a pool"
            " that a last good form has counts, too"
        )
        return refused(Reason.TOO_MANY_POOLS, message, "egress", "pool")


def _hold(relay: RelayPool, held: Counter[str]) -> None:
    held[relay.wanted or DEFAULT_POOL] += 1
    if relay.kept is not None:
        held[relay.kept] -= 1


def _beside(relay: RelayPool, held: Mapping[str, int]) -> set[str]:
    """Return the pools there are once a Relay has its new one."""
    pools = {pool for pool, number in held.items() if number > (pool == relay.kept)}
    return pools | {relay.wanted or DEFAULT_POOL}


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
