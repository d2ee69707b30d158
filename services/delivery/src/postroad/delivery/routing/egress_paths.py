"""Finds the egress path of a record in the current configuration, which may have changed."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeVar

from postroad.policy.egress_path import find_egress_path, may_be_otherwise
from postroad.policy.model import EgressPath, ObjectKey, Smarthost
from postroad.policy.snapshot import Snapshot
from postroad.spool.record import QueueRecord

_MANY = 20_000
_T = TypeVar("_T")


def same_hosts(some: tuple[Smarthost, ...], others: tuple[Smarthost, ...]) -> bool:
    """Whether two lists of smarthosts are one site: both are empty (MX), or share a host."""
    if some == others:
        return True
    return not {(s.host, s.port) for s in some}.isdisjoint((s.host, s.port) for s in others)


# What the egress path of a record depends on: its Client, its namespace, the sender's domain, its
# own domain. It is a plain tuple, because one is made for each record.
_Concern = tuple[str | None, str, str | None, str]


class EgressPaths:
    """
    An LRU cache of egress paths for one snapshot, since most mail resembles other mail.
    """

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._find: Callable[..., EgressPath | None] = lambda *_: None

    def of(self, snapshot: Snapshot | None, record: QueueRecord) -> EgressPath | None:
        """Do the same as `egress_path_of`; None without a snapshot."""
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._find = _finder(snapshot)
        return self._find(*_concern(record))


def _finder(snapshot: Snapshot | None) -> Callable[..., EgressPath | None]:
    if snapshot is None:
        return lambda *_: None
    return lru_cache(maxsize=_MANY)(partial(_egress_path, snapshot))


def egress_path_of(snapshot: Snapshot, record: QueueRecord) -> EgressPath | None:
    """
    Return a record's egress path, None when no object decides it.

    It is also None if an unreadable object might change it: see `is_undecided`.
    """
    return _egress_path(snapshot, *_concern(record))


def is_undecided(snapshot: Snapshot | None, record: QueueRecord) -> bool:
    """Whether an unreadable object might change a record's egress path."""
    return snapshot is not None and _is_undecided(snapshot, _concern(record))


def _concern(record: QueueRecord) -> _Concern:
    sender, origin = record.reverse_path, record.origin
    sender_domain = sender.domain if sender is not None else None
    return origin.client, origin.namespace, sender_domain, record.domain


def _egress_path(snapshot: Snapshot, *concern: *_Concern) -> EgressPath | None:
    return None if _is_undecided(snapshot, concern) else _ask(find_egress_path, snapshot, concern)


def _is_undecided(snapshot: Snapshot, concern: _Concern) -> bool:
    return snapshot.stale and _ask(may_be_otherwise, snapshot, concern)


def _ask(question: Callable[..., _T], snapshot: Snapshot, concern: _Concern) -> _T:
    """Call a function of the configuration with a record's origin and destination."""
    origin, origin_namespace, sender_domain, recipient_domain = concern
    client = None
    if origin is not None:
        namespace, _, name = origin.partition("/")
        client = ObjectKey(namespace, name)
    return question(
        snapshot,
        client=client,
        sender_domain=sender_domain,
        recipient_domain=recipient_domain,
        namespace=origin_namespace or None,
    )
