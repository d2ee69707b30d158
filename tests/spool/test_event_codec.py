"""Stored events: read back as written, also those of older versions."""

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from postroad.proto.v1 import event_pb2
from postroad.spool.errors import RecordCorrupt
from postroad.spool.event import Event, EventType
from postroad.spool.wire.event import decode_events, encode_events

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def full() -> Event:
    """Return an event in which every field says something."""
    event = Event(type=EventType.REJECTION, at=NOW)
    said = {str: "text", int: 7, float: 1.5, bool: True, tuple: ("a@x.example",)}
    given = {
        field.name: said[type(getattr(event, field.name))]
        for field in fields(Event)
        if field.name not in ("type", "at", "host")
    }
    return replace(event, **given)  # type: ignore[arg-type]


def test_every_field_is_stored() -> None:
    assert list(decode_events(encode_events([full()]))) == [full()]


@pytest.mark.parametrize("kind", [EventType.RECEPTION, EventType.REJECTION])
def test_a_helo_name_that_was_stored_as_the_host_is_the_helo_name(kind: EventType) -> None:
    [event] = decode_events(encode_events([Event(type=kind, at=NOW, host="vm")]))
    assert (event.helo, event.host) == ("vm", "")


def test_the_host_of_a_delivery_stays_the_host() -> None:
    [event] = decode_events(encode_events([Event(type=EventType.DELIVERY, at=NOW, host="mx")]))
    assert (event.helo, event.host) == ("", "mx")


def test_text_that_is_no_unicode_is_stored_with_replacements() -> None:
    hostile = Event(type=EventType.REJECTION, at=NOW, helo="\udcff", recipients=("\udc80@x",))
    [event] = decode_events(encode_events([hostile]))
    assert event.helo == "?"
    assert event.recipients == ("?@x",)


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), float("-inf")])
def test_an_event_with_a_delay_that_no_json_has_is_corrupt(delay: float) -> None:
    """`postroad events --json` wrote lines that no other program could read."""
    batch = event_pb2.EventBatch()
    batch.events.add(type=EventType.RECEPTION, at_us=1, delay=delay)
    with pytest.raises(RecordCorrupt):
        list(decode_events(batch.SerializeToString()))


@pytest.mark.parametrize("at", [2**53, -(2**53), 2**63 - 1])
def test_an_event_of_an_impossible_time_is_corrupt(at: int) -> None:
    """Whoever may add to the history could keep all others from reading it."""
    batch = event_pb2.EventBatch()
    batch.events.add(type=EventType.DELIVERY, at_us=at)
    with pytest.raises(RecordCorrupt):
        list(decode_events(batch.SerializeToString()))
