"""
Encodes operators' orders as JSON, so that people can read them with any NATS tool.

An order with an unknown field is refused: the field may narrow the selection, and without it the
order would act on the wrong mail. An older version may have stored an address in another spelling;
it is read as `Mailbox.compared`, in which all addresses of a selection are.
"""

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from postroad.mail.address import Mailbox
from postroad.spool.agreement import Order
from postroad.spool.errors import RecordCorrupt
from postroad.spool.selection import Selection, WaitKind

_ORDER_FIELDS = {each.name for each in fields(Order)} - {"stored"}  # which the queue adds
_SELECTION_FIELDS = {each.name for each in fields(Selection)}
_ADDRESSES = ("reverse_path", "recipient")


def encode_order(order: Order) -> bytes:
    """Encode an order."""
    content: dict[str, Any] = {
        "order_id": order.order_id,
        "action": order.action,
        "selection": _encode_selection(order.selection),
        "placed": order.placed.isoformat(),
        "until": order.until.isoformat(),
        "cutoff": order.cutoff.isoformat() if order.cutoff else None,
        "reason": order.reason,
    }
    return json.dumps(content).encode()


def decode_order(data: bytes) -> Order:
    """Decode an order; RecordCorrupt when it is malformed, or of a newer version."""
    try:
        content = json.loads(data)
        if not content.keys() <= _ORDER_FIELDS:
            raise RecordCorrupt("an order with unknown fields")
        cutoff = content["cutoff"]
        return Order(
            order_id=content["order_id"],
            action=content["action"],
            selection=_decode_selection(content["selection"]),
            placed=datetime.fromisoformat(content["placed"]),
            until=datetime.fromisoformat(content["until"]),
            cutoff=datetime.fromisoformat(cutoff) if cutoff else None,
            reason=content.get("reason", ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordCorrupt("stored bytes are not an order") from error


def _encode_selection(selection: Selection) -> dict[str, Any]:
    content: dict[str, Any] = {
        name: getattr(selection, name)
        for name in ("queue_id", "domain", "reverse_path", "recipient", "client")
        if getattr(selection, name) is not None
    }
    content["kinds"] = sorted(selection.kinds)
    if selection.lanes is not None:
        content["lanes"] = sorted(selection.lanes)
    if selection.arrived_before is not None:
        content["arrived_before"] = selection.arrived_before.isoformat()
    return content


def _decode_selection(content: dict[str, Any]) -> Selection:
    if not content.keys() <= _SELECTION_FIELDS:
        raise RecordCorrupt("a selection with unknown fields")
    chosen = dict(content)
    chosen |= {name: _compared(content[name]) for name in _ADDRESSES if name in content}
    chosen["kinds"] = frozenset(WaitKind(kind) for kind in content["kinds"])
    if "lanes" in content:
        chosen["lanes"] = frozenset(content["lanes"])
    if "arrived_before" in content:
        chosen["arrived_before"] = datetime.fromisoformat(content["arrived_before"])
    return Selection(**chosen)


def _compared(address: str) -> str:
    if address == "<>":
        return address
    local_part, _, domain = address.rpartition("@")
    return Mailbox(local_part, domain).compared
