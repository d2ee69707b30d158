"""How a record's mail leaves, by the objects as they are now: they may have changed meanwhile."""

from postroad.policy.model import ObjectKey, Snapshot, WayOut
from postroad.policy.way_out import find_way_out
from postroad.spool.record import QueueRecord


def way_out_of(snapshot: Snapshot, record: QueueRecord) -> WayOut | None:
    """Return a record's way out, None when no object says."""
    client = None
    if record.origin.client is not None:
        namespace, _, name = record.origin.client.partition("/")
        client = ObjectKey(namespace, name)
    sender = record.reverse_path.domain if record.reverse_path is not None else None
    return find_way_out(
        snapshot,
        client=client,
        sender_domain=sender,
        recipient_domain=record.domain,
        namespace=record.origin.namespace or None,
    )
