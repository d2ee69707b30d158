"""An error that nobody planned for costs delivery a moment, and nothing stands still after it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from postroad.delivery.dispatch import orders
from postroad.policy.limits.portions import Claim, encode
from postroad.policy.model import Rate, SiteLimits
from postroad.spool.agreement import SiteKind
from postroad.spool.interface import Deferred
from postroad.spool.memory.agreement import MemorySiteRecords
from postroad.spool.memory.spool import MemoryBrowser, MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    delivering,
    order,
    publish,
    to_smarthost,
)
from postroad.testing.queue.queued_mail import now, put
from postroad_harness.two_pools import POOLS, SITE, TwoPools


async def test_a_shared_site_gets_its_portion_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The claim of another process holds all connections until it is read again."""
    news, failed, read = MemorySiteRecords.news, asyncio.Event(), list[SiteKind]()

    async def fail_once(self: MemorySiteRecords, kind: SiteKind) -> Sequence[bytes]:
        read.append(kind)
        if len(read) == 2:  # the first read is before mail is taken
            failed.set()
            raise RuntimeError("nobody planned this")
        return await news(self, kind)

    limits = SiteLimits(connections=1)
    async with TwoPools(ScriptedMx(), limits, POOLS) as two:
        other = MemorySpool(two.cluster, pool="bulk").site_records.owner
        records = two.cluster.agreement.site_records
        records[SiteKind.CONNECTIONS, SITE] = encode(SITE, [Claim(other, limits, 1, wants=False)])
        await two.send("a.test", 1)
        monkeypatch.setattr(MemorySiteRecords, "news", fail_once)
        await two.start("default")
        await asyncio.wait_for(failed.wait(), patient(10))
        records[SiteKind.CONNECTIONS, SITE] = encode(SITE, [])
        await two.delivered(1)


async def test_mail_with_a_rate_goes_out_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, failures = MemorySiteRecords.change, 0

    async def fail_first(self: MemorySiteRecords, kind: SiteKind, *args: object, **more: object):  # type: ignore[no-untyped-def]
        nonlocal failures
        if kind is SiteKind.WINDOW and failures < 2:
            failures += 1
            raise RuntimeError("nobody planned this")
        return await change(self, kind, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MemorySiteRecords, "change", fail_first)
    limits = SiteLimits(message_rate=Rate(10, timedelta(hours=1)))
    async with TwoPools(ScriptedMx(), limits, {"a.test": "default"}) as two:
        await two.send("a.test", 1)
        await two.start("default")
        await two.delivered(1)
    assert failures == 2


async def test_an_order_is_carried_out_after_an_unexpected_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "_AGAIN", 0.2)  # seconds until it is tried again
    claim, failed = MemoryBrowser.claim, asyncio.Event()

    async def fail_once(self: MemoryBrowser, *args: object) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("nobody planned this")
        await claim(self, *args)  # type: ignore[arg-type]

    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, "b@y.example", place=Deferred(now() + HOUR), origin=CLIENT)
        await spool.orders.place(order("retry", domain="y.example"))
        monkeypatch.setattr(MemoryBrowser, "claim", fail_once)
        async with delivering(spool):
            await asyncio.wait_for(failed.wait(), patient(5))
            await asyncio.wait_for(mx.received(1), patient(5))
