"""
All objects in force at one generation, and how a process reads them from the published entries.

A process keeps the bytes and the value of each entry, so a new generation costs only its changes.
An entry that cannot be read keeps its last readable value, and does not affect the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from postroad.policy.codec import EntryUnreadable, decode_entry
from postroad.policy.model import (
    ClaimBasis,
    Client,
    Domain,
    Entry,
    ObjectKey,
    Quota,
    Reach,
    Relay,
    qualified,
)
from postroad.policy.networks import NetworkTable
from postroad.policy.secrets.seal import Keyrings

# The best claim first: else the relay's own postmaster mail would go to any Domain aaa.example.
_TRUST = (
    ClaimBasis.PLATFORM,
    ClaimBasis.GRANT,
    ClaimBasis.TXT,
    ClaimBasis.MX,
    ClaimBasis.EARLIER,
    ClaimBasis.NONE,
)


@dataclass(frozen=True)
class Snapshot:
    """
    All objects in force at one generation, immutable and replaced as a whole.

    `domains` is keyed by domain name. Several Domains may have one name: there it has the one that
    gets the mail of strangers, and `domain_for` knows the others. `Snapshot.of` builds the indexes.

    `unreadable` has the entry keys (kind.namespace.name) of published objects that this process
    cannot read. Then the snapshot is `stale`: other processes may know more. So reply 451 instead
    of 550, and send no mail on a path that an unreadable object may change.
    """

    generation: int
    domains: Mapping[str, Domain] = field(default_factory=dict)
    domains_of_one: Mapping[tuple[str, str], Domain] = field(default_factory=dict)
    """Those that take only the mail of their own namespace, by that namespace and the name."""
    relays: Mapping[ObjectKey, Relay] = field(default_factory=dict)
    quotas: Mapping[ObjectKey, Quota] = field(default_factory=dict)
    clients: Mapping[ObjectKey, Client] = field(default_factory=dict)
    clients_by_username: Mapping[str, Client] = field(default_factory=dict)
    unreadable: frozenset[str] = frozenset()

    @property
    def stale(self) -> bool:
        """Whether some published object cannot be read here."""
        return bool(self.unreadable)

    @cached_property
    def relays_by_destination(self) -> Mapping[tuple[str, str], Relay]:
        """The Relay for each namespace and pattern; of several the first by name."""
        found: dict[tuple[str, str], Relay] = {}
        for relay in sorted(self.relays.values(), key=lambda relay: relay.key):
            for pattern in relay.destinations:
                found.setdefault((relay.key.namespace, pattern), relay)
        return found

    @cached_property
    def clients_by_network(self) -> NetworkTable[Client]:
        """The Clients by network; those of one network are in the order of their names."""
        clients = sorted(self.clients.values(), key=lambda client: client.key)
        return NetworkTable((client.networks, client) for client in clients)

    def domain_for(self, name: str, namespace: str | None) -> Domain | None:
        """
        Return the Domain that a name means in the mail of a namespace; None: of a stranger.

        A Domain that has not proven its name means nothing in the mail of other namespaces. One
        that has means the same to all: else who claims a network would get what comes from there.
        """
        domain = self.domains.get(name)
        if namespace is None or (domain is not None and domain.reach is Reach.EVERYBODY):
            return domain
        if domain is not None and domain.key.namespace == namespace:
            return domain
        return self.domains_of_one.get((namespace, name)) if self.domains_of_one else None

    @cached_property
    def postmaster_domain(self) -> str | None:
        """The domain of a bare <postmaster>: the first that receives, by its claim and name."""
        receiving = (
            (_TRUST.index(of.claim), name) for name, of in self.domains.items() if of.receive
        )
        return min(receiving, default=(0, None))[1]

    @classmethod
    def of(
        cls,
        generation: int,
        *,
        domains: tuple[Domain, ...] = (),
        relays: tuple[Relay, ...] = (),
        quotas: tuple[Quota, ...] = (),
        clients: tuple[Client, ...] = (),
        unreadable: frozenset[str] = frozenset(),
    ) -> "Snapshot":
        """Index the objects; the compiler has made sure that names are unique."""
        return cls(
            generation,
            domains={each.domain: each for each in domains if each.reach is not Reach.HOME},
            domains_of_one={
                (each.key.namespace, each.domain): each
                for each in domains
                if each.reach is Reach.HOME
            },
            relays={relay.key: relay for relay in relays},
            quotas={quota.key: quota for quota in quotas},
            clients={client.key: client for client in clients},
            clients_by_username=_by_username(clients),
            unreadable=unreadable,
        )


def _by_username(clients: tuple[Client, ...]) -> Mapping[str, Client]:
    named = [(client.username, client) for client in clients if client.username is not None]
    # A name with a namespace is that namespace's, whatever somebody else calls himself.
    full = {qualified(client.key.namespace, username): client for username, client in named}
    return {**dict(named), **full}


@dataclass(frozen=True, slots=True)
class Loaded:
    """One generation as this process reads it: the snapshot, and what changed."""

    snapshot: Snapshot
    entries: Mapping[str, Entry]
    unreadable: Mapping[str, str]  # entry key → why
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass
class SnapshotLoader:
    """Turns each published state into a Snapshot."""

    keyrings: Keyrings
    _bytes: dict[str, bytes] = field(default_factory=dict)
    _entries: dict[str, Entry] = field(default_factory=dict)

    def load(self, generation: int, published: Mapping[str, bytes]) -> Loaded:
        """Read a complete state; never raises, whatever its entries are."""
        before = self._entries
        entries: dict[str, Entry] = {}
        kept: dict[str, bytes] = {}
        unreadable: dict[str, str] = {}
        for key in sorted(published):
            data = published[key]
            try:
                same = self._bytes.get(key) == data
                entries[key] = before[key] if same else decode_entry(key, data, self.keyrings)
                kept[key] = data
            except EntryUnreadable as error:
                unreadable[key] = str(error)
                if key in before:
                    entries[key] = before[key]
        self._bytes, self._entries = kept, entries
        return Loaded(
            _snapshot(generation, entries, frozenset(unreadable)),
            entries,
            unreadable,
            added=tuple(key for key in entries if key not in before),
            changed=tuple(key for key in entries if key in before and entries[key] != before[key]),
            removed=tuple(key for key in before if key not in entries),
        )


def _snapshot(
    generation: int, entries: Mapping[str, Entry], unreadable: frozenset[str]
) -> Snapshot:
    values = entries.values()
    return Snapshot.of(
        generation,
        domains=tuple(each for each in values if isinstance(each, Domain)),
        relays=tuple(each for each in values if isinstance(each, Relay)),
        quotas=tuple(each for each in values if isinstance(each, Quota)),
        clients=tuple(each for each in values if isinstance(each, Client)),
        unreadable=unreadable,
    )
