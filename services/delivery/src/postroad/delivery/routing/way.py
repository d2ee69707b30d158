"""How a record's mail leaves, by the objects as they are now: they may have changed meanwhile."""

from collections.abc import Callable
from typing import TypeVar

from postroad.policy.model import ObjectKey, Smarthost, Snapshot, WayOut
from postroad.policy.way_out import find_way_out, may_be_otherwise
from postroad.spool.record import QueueRecord

_MANY = 20_000
_T = TypeVar("_T")


def same_hosts(some: tuple[Smarthost, ...], others: tuple[Smarthost, ...]) -> bool:
    """Whether two lists of smarthosts are of one site: the DNS for both, or a host in both."""
    if some == others:
        return True
    return not {(s.host, s.port) for s in some}.isdisjoint((s.host, s.port) for s in others)


class Ways:
    """Ways out as they were found, as long as the objects are the same: most mail is like other."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._found: dict[tuple[str | None, str, str, str], WayOut | None] = {}

    def of(self, snapshot: Snapshot | None, record: QueueRecord) -> WayOut | None:
        """Return what `way_out_of` does, None also where nothing is configured."""
        if snapshot is None:
            return None
        if snapshot is not self._snapshot or len(self._found) > _MANY:
            self._snapshot = snapshot
            self._found.clear()
        sender = record.reverse_path.domain if record.reverse_path is not None else ""
        key = (record.origin.client, record.origin.namespace, sender, record.domain)
        try:
            return self._found[key]
        except KeyError:
            found = self._found[key] = way_out_of(snapshot, record)
            return found


def way_out_of(snapshot: Snapshot, record: QueueRecord) -> WayOut | None:
    """
    Return a record's way out, None when no object says.

    None also where an object that cannot be read might say otherwise: see `is_undecided`.
    """
    return None if is_undecided(snapshot, record) else _ask(find_way_out, snapshot, record)


def is_undecided(snapshot: Snapshot | None, record: QueueRecord) -> bool:
    """Whether an object that cannot be read here might say another way out for a record."""
    return snapshot is not None and snapshot.stale and _ask(may_be_otherwise, snapshot, record)


def _ask(question: Callable[..., _T], snapshot: Snapshot, record: QueueRecord) -> _T:
    """Ask what concerns a record's origin and destination of the configuration."""
    client = None
    if record.origin.client is not None:
        namespace, _, name = record.origin.client.partition("/")
        client = ObjectKey(namespace, name)
    sender = record.reverse_path.domain if record.reverse_path is not None else None
    return question(
        snapshot,
        client=client,
        sender_domain=sender,
        recipient_domain=record.domain,
        namespace=record.origin.namespace or None,
    )
