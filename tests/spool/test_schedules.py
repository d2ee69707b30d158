"""
Schedules that fire while somebody looks after waiting mail: each record becomes ready once.

The server copies all schedules that have come due, then stores the copies one after the other; with
many due at once that takes long enough to be met in the middle.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest

from postroad.spool import waiting
from postroad.spool.errors import ClaimLost
from postroad.spool.interface import Put, Queued, Ready, Scheduled, Selection, WaitKind
from postroad.spool.jetstream import JetStreamSpool
from postroad.testing.queued_mail import SECOND, now, put

pytestmark = pytest.mark.nats

RECORDS = 1000
AT_ONCE = 50


async def renew(spool: JetStreamSpool) -> None:
    """What deliveries do once a minute, each for its lanes."""
    lanes = [f"p{number:02d}" for number in range(spool.layout.lanes)]
    await asyncio.gather(*(spool.waiting.renew_overdue([lane], now()) for lane in lanes))


async def claim_all(spool: JetStreamSpool) -> None:
    """What `queue retry --all` does."""
    group: list[Queued] = []
    async for queued in spool.waiting.list(Selection(kinds=frozenset({WaitKind.SCHEDULED}))):
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


@pytest.mark.parametrize("meddle", [renew, claim_all])
async def test_mail_that_comes_due_meanwhile_is_ready_once(
    spool: JetStreamSpool,
    meddle: Callable[[JetStreamSpool], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "OVERDUE", timedelta(0))
    due = now() + 6 * SECOND
    for _ in range(RECORDS // AT_ONCE):
        names = (f"b@d{number}.example" for number in range(AT_ONCE))  # in all lanes
        await asyncio.gather(*(put(spool, name, place=Scheduled(due)) for name in names))
    assert await states(spool) == {WaitKind.SCHEDULED: RECORDS}
    await asyncio.sleep((due - now()).total_seconds())
    async with asyncio.timeout(60):
        while WaitKind.SCHEDULED in await states(spool):
            await meddle(spool)
    assert await states(spool) == {WaitKind.READY: RECORDS}


async def states(spool: JetStreamSpool) -> dict[WaitKind, int]:
    found: dict[WaitKind, int] = {}
    for (kind, _, _), count in (await spool.waiting.counts()).items():
        found[kind] = found.get(kind, 0) + count
    return found
