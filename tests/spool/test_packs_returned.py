"""
Mail that was stored together, and that a process gives back as it leaves a lane, or stops.

What has not begun of it need not wait for what is under way. See `consume.packs.returning`.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.errors import SpoolFull
from postroad.spool.interface import LeasedRecord, RecordConsumer
from postroad.spool.jetstream.cluster import lane_ownership
from postroad.spool.jetstream.consume.poison.suspects import SUSPECT
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import first, take, until
from postroad_harness.setups.spool.packing import (
    WAITING,
    Taking,
    at_once,
    delivery,
    one_shard,
    stored,
    to_of,
    until_seen,
    until_stored,
)
from postroad_harness.setups.spool.taking import OpenJetStream

pytestmark = pytest.mark.nats

A, B, C, D, E, F = (f"{name}@y.example" for name in "abcdef")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with one_shard(tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def _left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a lane half a second after the next owner has come, whatever is under way there."""
    monkeypatch.setattr(lane_ownership, "_LEAVING_PATIENCE", 0.5)


async def hand_out(
    spool: JetStreamSpool, link: Link, begun: int, *packs: tuple[str, ...]
) -> tuple[RecordConsumer, list[LeasedRecord]]:
    """Accept mail of another pool, and begin so much of it while the rest waits in hand."""
    await until_seen(spool)
    consumer = take(spool)
    consumer.know_pools(["bulk"])
    for number, pack in enumerate(packs, 1):
        await at_once(spool, *pack, pool="bulk")
        assert await stored(link) == number
    return consumer, await first(consumer, begun)


# ---------------------------------------------------------------- to a lane's next owner


async def test_what_has_not_begun_does_not_wait_for_what_is_under_way(
    open_spool: OpenJetStream, link: Link
) -> None:
    """It is stored apart, and the rest as it was."""
    consumer, [begun] = await hand_out(await open_spool(), link, 1, (A, B, C), (D, E, F))
    heir = Taking(await open_spool(pool="bulk"), pool="bulk")
    await heir.until(5)
    assert heir.names == sorted({A, B, C, D, E, F} - {to_of(begun)})
    assert (await stored(link), await stored(link, WAITING)) == (2, 2)
    assert not consumer.serves(begun)
    await heir.settle_all()
    assert (await stored(link), await stored(link, WAITING)) == (1, 0)
    await consumer.settle(begun)
    assert await stored(link) == 0
    assert len(heir.leased) == 5
    await consumer.close()
    await heir.end()


async def test_what_is_given_back_of_mail_that_is_under_way_is_stored_apart(
    open_spool: OpenJetStream, link: Link
) -> None:
    """Also what was handed out and not begun, as its site has no room."""
    spool = await open_spool()
    consumer, [one, other] = await hand_out(spool, link, 2, (A, B))
    await consumer.give_back(one)
    assert (await stored(link), await stored(link, WAITING)) == (1, 1)
    [again] = await first(consumer, 1)
    assert (to_of(again), again.record.step) == (to_of(one), 1)
    await consumer.settle(other)
    await consumer.settle(again)
    await until(spool)
    await consumer.close()


async def test_what_has_not_begun_and_cannot_be_stored_apart_waits_for_what_is_under_way(
    open_spool: OpenJetStream, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Else the rest came with what is under way, which would be attempted twice.

    Over 5 s, of which 4 s are for a lease of 2 s that must not run out.
    """
    spool = await open_spool()
    consumer, [begun] = await hand_out(spool, link, 1, (A, B, C))

    async def full(*_: object, **__: object) -> None:
        raise SpoolFull("full")

    monkeypatch.setattr(Publisher, "publish", full)
    heir_spool = await open_spool(pool="bulk")
    heir = Taking(heir_spool, pool="bulk")
    async with asyncio.timeout(patient(20)):
        while len(heir.consumer.lanes) < 8:
            await asyncio.sleep(0.05)
    await asyncio.sleep(4)
    assert heir.names == []
    assert await consumer.confirm(begun)
    await consumer.settle(begun, (), [delivery(begun)])
    await heir.until(2)
    await heir.settle_all()
    await until_stored(link, 0)
    assert heir.names == sorted({A, B, C} - {to_of(begun)})
    await consumer.close()
    await heir.end()


# ---------------------------------------------------------------- of a process that stops


async def test_what_a_stopped_process_had_not_begun_is_handed_out_at_once_and_as_it_was(
    open_spool: OpenJetStream, link: Link
) -> None:
    """And has killed nobody: each restart of a deployment gives back what waits."""
    spool = await open_spool()
    await until_seen(spool)
    await at_once(spool, A, B, C)
    for _ in range(SUSPECT + 1):
        consumer = take(spool)
        await first(consumer, 1)
        await consumer.stop()
        await consumer.close()
        assert (await stored(link), await stored(link, WAITING)) == (1, 0)
    heir = Taking(spool)
    await heir.until(3)
    assert (await stored(link), await stored(link, WAITING)) == (1, 0)
    await heir.settle_all()
    assert heir.names == [A, B, C]
    assert await stored(link) == 0
    await heir.end()


async def test_what_a_stopped_process_had_left_goes_on_without_what_has_ended(
    open_spool: OpenJetStream, link: Link
) -> None:
    """Though the history does not say so."""
    spool = await open_spool()
    await until_seen(spool)
    await at_once(spool, A, B, C, D)
    taking = Taking(spool)
    await taking.until(4)
    for each in (B, D):
        await taking.consumer.settle(taking.of(each))
    await taking.end()
    assert (await stored(link), await stored(link, WAITING)) == (0, 2)
    await spool.close()
    heir = Taking(await open_spool())
    await heir.until(2)
    await heir.settle_all()
    assert heir.names == [A, C]
    assert await stored(link, WAITING) == 0
    await heir.end()
