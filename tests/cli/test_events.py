"""`postroad events` shows a history in the order in which it happened."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.cli.commands.events import event_type, in_order, line
from postroad.cli.errors import CommandError
from postroad.spool.event import Event, EventType

START = datetime(2030, 1, 1, tzinfo=UTC)


async def stored(seconds: list[float]) -> AsyncIterator[Event]:
    for moment in seconds:
        yield Event(type=EventType.DELIVERY, at=START + timedelta(seconds=moment))


async def told(seconds: list[float]) -> list[float]:
    return [(event.at - START).total_seconds() async for event in in_order(stored(seconds))]


async def test_a_delivery_stored_before_its_reception_is_told_behind_it() -> None:
    assert await told([0.3, 0.1, 7.0, 6.5, 20.0]) == [0.1, 0.3, 6.5, 7.0, 20.0]


@given(st.lists(st.integers(0, 60), max_size=50))
async def test_nothing_is_left_out(seconds: list[int]) -> None:
    moments = [float(second) for second in seconds]
    assert sorted(await told(moments)) == sorted(moments)


async def test_what_lies_behind_is_told_at_once() -> None:
    """The history of a week does not wait in memory for its end."""
    history = in_order(stored([0.0, 1.0, 10.0, 11.0]))
    assert [(await anext(history)).at for _ in range(2)] == [
        START,
        START + timedelta(seconds=1),
    ]


def told_of(**fields: Any) -> str:
    return line(Event(at=START, queue_id="01JDX3M8Q2V5K7T9W4Y6Z8ABCD", **fields)).plain


def test_client_means_the_client_that_was_proven() -> None:
    told = told_of(
        type=EventType.RECEPTION,
        reverse_path="news@shop.example",
        recipients=("you@far.example",),
        client="default/shop",
        peer_address="192.0.2.7",
        helo="vm",
    )
    assert "accepted" in told
    assert "from news@shop.example, client default/shop, peer 192.0.2.7 (helo vm)," in told


def test_a_refusal_says_of_what_and_how_many_alike_there_were() -> None:
    told = told_of(
        type=EventType.REJECTION,
        command="RCPT",
        reverse_path="",
        recipients=("victim@other.test",),
        peer_address="192.0.2.7",
        helo="vm\x1b[31m",
        reply="550 5.7.1 relay access denied",
        left_out=12,
    )
    assert "rejected" in told
    assert "at RCPT, from <>, peer 192.0.2.7 (helo vm\\x1b[31m), to victim@other.test" in told
    assert told.endswith('"550 5.7.1 relay access denied", and 12 alike before it')


def test_a_delivery_says_how_long_it_took() -> None:
    told = told_of(type=EventType.DELIVERY, host="mx.far.example", attempt=2, delay=61.26)
    assert "delivered" in told
    assert "via mx.far.example, try 2, after 61.3 s" in told


@pytest.mark.parametrize("text", ["deferred", "Deferred", "TransientFailure", "transientfailure"])
def test_a_type_is_named_by_its_word_or_as_it_is_stored(text: str) -> None:
    assert event_type(text) is EventType.TRANSIENT_FAILURE


def test_a_type_that_is_none_is_told_what_there_is() -> None:
    with pytest.raises(CommandError, match=r"^--type takes accepted, delivered, .*, not 'sent'$"):
        event_type("sent")


def test_every_type_has_a_word_of_its_own() -> None:
    assert len({kind.word for kind in EventType}) == len(EventType)
