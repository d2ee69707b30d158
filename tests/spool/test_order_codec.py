"""Stored orders: read back as written, also those of older versions."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from postroad.spool.agreement import Order
from postroad.spool.selection import Selection
from postroad.spool.wire.order import decode_order, encode_order

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def order(selection: Selection) -> Order:
    """Return an order on some mail."""
    return Order("o1", "hold", selection, NOW, NOW + timedelta(hours=1), NOW, "a reason")


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(reverse_path="<>", recipient='"a b"@y.example', domain="y.example"),
        Selection(client="mail/shop", lanes=frozenset({"p01"}), arrived_before=NOW),
    ],
)
def test_every_field_is_stored(selection: Selection) -> None:
    assert decode_order(encode_order(order(selection))) == order(selection)


@pytest.mark.parametrize(
    ("stored", "means"),
    [
        ("alice@x.example", "alice@x.example"),
        ('"alice"@x.example', "alice@x.example"),
        (r'"al\ice"@x.example', "alice@x.example"),
        ("a..b@x.example", '"a..b"@x.example'),
    ],
)
def test_an_address_that_an_older_version_has_stored_is_read_in_one_spelling(
    stored: str, means: str
) -> None:
    content = json.loads(encode_order(order(Selection())))
    content["selection"] |= {"reverse_path": stored, "recipient": stored}
    selection = decode_order(json.dumps(content).encode()).selection
    assert (selection.reverse_path, selection.recipient) == (means, means)
