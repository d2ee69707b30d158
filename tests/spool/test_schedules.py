"""
Schedules that fire while waiting mail is inspected: each record becomes ready once.

The server copies all due schedules, then stores the copies one after the other. With many due at
once, that takes long enough for a test to run in the middle.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from postroad.spool.errors import ClaimLost
from postroad.spool.interface import Deferred, Put, Queued, Ready, RecordConsumer
from postroad.spool.jetstream import browse as waiting
from postroad.spool.jetstream.nats.direct_get import PAGE_MESSAGES
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, now, put, take

pytestmark = pytest.mark.nats

RECORDS = 1000
AT_ONCE = 50
HOUR = timedelta(hours=1)
LONG_AGO = now() - HOUR


async def renew(spool: JetStreamSpool, clock: Callable[[], datetime] = now) -> int:
    """What deliveries do once a minute, each for its lanes."""
    lanes = [f"p{number:02d}" for number in range(spool.layout.lanes)]
    looks = [
        spool.waiting.renew_overdue([lane], LONG_AGO, clock, pause=0 * SECOND) for lane in lanes
    ]
    return sum(await asyncio.gather(*looks))


async def claim_all(spool: JetStreamSpool) -> None:
    """What `queue retry --all` does."""
    group: list[Queued] = []
    async for queued in spool.waiting.list(Selection(kinds=frozenset({WaitKind.DEFERRED}))):
        group.append(queued)
        if len(group) == AT_ONCE:
            await claim(spool, group)
            group.clear()
    await claim(spool, group)


async def claim(spool: JetStreamSpool, group: Sequence[Queued]) -> None:
    claims = [
        spool.waiting.claim(queued, [Put(queued.record.next_step(), Ready())], now())
        for queued in group
    ]
    for error in await asyncio.gather(*claims, return_exceptions=True):
        assert error is None or isinstance(error, ClaimLost), error


@pytest.fixture
async def soon_due(spool: JetStreamSpool) -> datetime:
    """The moment at which all records of the queue come due."""
    due = now() + 8 * SECOND
    for _ in range(RECORDS // AT_ONCE):
        names = (f"b@d{number}.example" for number in range(AT_ONCE))  # in all lanes
        await asyncio.gather(*(put(spool, name, place=Deferred(due)) for name in names))
    assert await states(spool) == {WaitKind.DEFERRED: RECORDS}
    return due


async def test_what_comes_due_while_it_is_claimed_is_ready_once(
    spool: JetStreamSpool, soon_due: datetime
) -> None:
    await asyncio.sleep((soon_due - now()).total_seconds())
    async with asyncio.timeout(patient(30)):
        while WaitKind.DEFERRED in await states(spool):
            await claim_all(spool)
    assert await states(spool) == {WaitKind.READY: RECORDS}


async def test_what_fires_while_it_is_renewed_is_ready_once_and_can_be_deferred(
    spool: JetStreamSpool, soon_due: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "OVERDUE", timedelta(0))
    # It renews some before they fire, and goes on while they do; on a busy machine it begins late.
    await asyncio.sleep((soon_due - now() - SECOND / 2).total_seconds())
    renewed = await renew(spool, clock=lambda: now() + SECOND)
    async with asyncio.timeout(patient(30)):
        while WaitKind.DEFERRED in await states(spool):
            await asyncio.sleep(0.1)
    assert renewed > 0
    assert await states(spool) == {WaitKind.READY: RECORDS}
    consumer = take(spool, room=AT_ONCE)  # few in hand, so that no lease runs out here
    later = Deferred(now() + HOUR)
    deferring = asyncio.create_task(defer_all(consumer, later))
    async with asyncio.timeout(patient(60)):
        while await states(spool) != {WaitKind.DEFERRED: RECORDS}:
            assert not deferring.done(), deferring.exception()
            await asyncio.sleep(0.1)
    deferring.cancel()
    await consumer.close()


async def defer_all(consumer: RecordConsumer, later: Deferred) -> None:
    async for leased in consumer:
        await consumer.settle(leased, [Put(leased.record.next_step(), later)])


async def states(spool: JetStreamSpool) -> dict[WaitKind, int]:
    found: dict[WaitKind, int] = {}
    for (kind, _, _), tally in (await spool.waiting.counts()).items():
        found[kind] = found.get(kind, 0) + tally.number
    return found


async def test_the_search_for_overdue_mail_rests_after_each_page(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Deferred(now() + HOUR)
    for _ in range(11):
        await asyncio.gather(*(put(spool, place=later) for _ in range(AT_ONCE)))
    rests: list[float] = []
    sleep = asyncio.sleep

    async def rest(seconds: float) -> None:
        rests.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", rest)
    lanes = [f"p{number:02d}" for number in range(spool.layout.lanes)]
    pause = timedelta(seconds=0.0123)
    assert await spool.waiting.renew_overdue(lanes, LONG_AGO, now, pause=pause) == 0
    assert rests.count(pause.total_seconds()) == 11 * AT_ONCE // PAGE_MESSAGES == 2
