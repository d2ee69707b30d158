"""
From published entries to the Snapshot in force, reading only what changed.

A process keeps each entry's bytes beside its value: a new generation costs what differs in it, not
the whole configuration. An entry that cannot be read keeps the value it had here; the others are
not held up by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from postroad.policy.codec import EntryUnreadable, decode_entry
from postroad.policy.model import Client, Domain, Entry, Quota, Relay, Snapshot
from postroad.policy.secrets.seal import Keyring


@dataclass(frozen=True, slots=True)
class Loaded:
    """One generation as this process reads it: the snapshot, and how it came to be."""

    snapshot: Snapshot
    entries: Mapping[str, Entry]
    unreadable: Mapping[str, str]  # entry key → why
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass
class SnapshotLoader:
    """Turns each published state into a Snapshot."""

    keyring: Keyring
    _bytes: dict[str, bytes] = field(default_factory=dict)
    _entries: dict[str, Entry] = field(default_factory=dict)

    def load(self, generation: int, published: Mapping[str, bytes]) -> Loaded:
        """Read a complete state; never raises for what is in it."""
        before = self._entries
        entries: dict[str, Entry] = {}
        kept: dict[str, bytes] = {}
        unreadable: dict[str, str] = {}
        for key in sorted(published):
            data = published[key]
            try:
                same = self._bytes.get(key) == data
                entries[key] = before[key] if same else decode_entry(key, data, self.keyring)
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
