"""`postroad events` tells a history in the order in which it happened."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from postroad.cli.events import in_order
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
