"""A waiting record is removed without a write: for good, once, and not while it may come ready."""

import asyncio
from datetime import timedelta

import pytest

from postroad.spool import interface
from postroad.spool.errors import ClaimLost
from postroad.spool.interface import Deferred, Held
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.queue.queued_mail import SECOND, kinds, now, put, until

pytestmark = pytest.mark.nats

HOUR = timedelta(hours=1)


@pytest.mark.parametrize("place", [Deferred(now() + HOUR), Held(now() + HOUR)])
async def test_a_record_is_removed_once(spool: JetStreamSpool, place: Deferred | Held) -> None:
    await put(spool, place=place)
    [queued] = [each async for each in spool.waiting.list(Selection())]
    tries = (spool.waiting.remove(queued, now()) for _ in range(3))
    said = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(each).__name__ for each in said) == ["ClaimLost", "ClaimLost", "NoneType"]
    assert await kinds(spool) == []


async def test_what_is_removed_does_not_become_ready(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's timer goes on for another record that is due later."""
    monkeypatch.setattr(interface, "CLAIM_MARGIN", SECOND)
    due = now() + 3 * SECOND
    await put(spool, place=Deferred(due))
    [queued] = [each async for each in spool.waiting.list(Selection())]
    await put(spool, "later@y.example", place=Deferred(due + 2 * SECOND))
    await spool.waiting.remove(queued, now())
    await until(spool, WaitKind.READY)


async def test_what_is_about_to_become_ready_is_not_removed(spool: JetStreamSpool) -> None:
    await put(spool, place=Deferred(now() + SECOND))
    [queued] = [each async for each in spool.waiting.list(Selection())]
    with pytest.raises(ClaimLost):
        await spool.waiting.remove(queued, now())
