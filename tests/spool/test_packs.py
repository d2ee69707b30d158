"""
New mail that is accepted at once: it is stored together, and handed out, ended and counted apart.

See `postroad.spool.wire.pack`.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import shard_of
from postroad.spool.interface import Deferred, LeasedRecord, Put, Ready, RecordConsumer
from postroad.spool.jetstream import spool as queue
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import SECOND, first, kinds, now, put, record, take
from postroad_harness.setups.spool.packing import (
    INTAKE,
    Taking,
    at_once,
    delivery,
    of_one_lane,
    one_shard,
    stored,
    to_of,
    until_seen,
    until_stored,
)
from postroad_harness.setups.spool.taking import OpenJetStream, until_empty

pytestmark = pytest.mark.nats

TEN = tuple(f"b{number}@y.example" for number in range(10))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with one_shard(tmp_path) as running:
        yield running


@pytest.fixture
async def ingress(open_spool: OpenJetStream) -> JetStreamSpool:
    return await open_spool(role="ingress")


# ---------------------------------------------------------------- stored


async def test_mail_of_one_moment_is_stored_together_and_handed_out_apart(
    spool: JetStreamSpool, ingress: JetStreamSpool, link: Link
) -> None:
    await until_seen(ingress)
    queue_ids = await at_once(ingress, *(f"b{number}@y.example" for number in range(100)))
    assert len(set(queue_ids)) == 100
    assert await stored(link) == 4  # 32 in each at most
    taking = Taking(spool)
    leased = await taking.until(100)
    assert {each.record.record_id.queue_id for each in leased} == set(queue_ids)
    assert {to_of(each) for each in leased} == {f"b{number}@y.example" for number in range(100)}
    await taking.settle_all()
    assert await stored(link) == 0
    assert len(taking.leased) == 100
    await taking.end()


async def test_mail_that_comes_alone_is_stored_as_ever(
    spool: JetStreamSpool, ingress: JetStreamSpool, link: Link
) -> None:
    """Any release can read it."""
    await until_seen(ingress)
    for to in TEN[:3]:
        await put(ingress, to)
    assert await stored(link) == 3
    for sequence in range(1, 4):
        found = await link.jetstream.get_msg(INTAKE, sequence)
        assert (found.subject or "").startswith("pr.i.0.r.default.x.")
    del spool


async def test_nothing_is_stored_together_where_nobody_takes_mail(
    ingress: JetStreamSpool, link: Link
) -> None:
    """Who starts next may be of an earlier release."""
    await at_once(ingress, *TEN)
    assert await stored(link) == 10


@pytest.mark.usefixtures("spool")
async def test_nothing_is_stored_together_while_a_process_of_an_earlier_release_takes_mail(
    open_spool: OpenJetStream, ingress: JetStreamSpool, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_seen(ingress)
    with monkeypatch.context() as earlier:
        earlier.setattr(queue, "FEATURE", "none")
        older = await open_spool()
    await until_seen(ingress, 2)
    await at_once(ingress, *TEN)
    assert await stored(link) == 10
    await older.close()
    await until_seen(ingress, 1)
    await at_once(ingress, *TEN)
    assert await stored(link) == 11


@pytest.mark.usefixtures("spool")
async def test_nothing_is_stored_together_if_it_is_turned_off(
    open_spool: OpenJetStream, link: Link
) -> None:
    ingress = await open_spool(role="ingress", packs=False)
    await until_seen(ingress)
    await at_once(ingress, *TEN)
    assert await stored(link) == 10


async def test_mail_to_several_domains_is_stored_together_with_other_mail(
    spool: JetStreamSpool, ingress: JetStreamSpool, link: Link
) -> None:
    await until_seen(ingress)
    domains = of_one_lane(ingress, 4)
    await asyncio.gather(put(ingress, *domains[:2]), *(put(ingress, to) for to in domains[1:]))
    assert await stored(link) == 1
    taking = Taking(spool)
    leased = await taking.until(5)
    assert taking.names == sorted([*domains, domains[1]])
    assert len({each.record.record_id for each in leased}) == 5
    await taking.settle_all()
    assert await stored(link) == 0
    await taking.end()


async def test_a_message_of_several_pools_is_stored_for_each_of_them(
    spool: JetStreamSpool, ingress: JetStreamSpool
) -> None:
    """Both are in one lane; a pack has the pool in its subject, and so mail of one pool only."""
    await until_seen(ingress)
    one, other = of_one_lane(ingress, 2)

    def compose(queue_id: str) -> list[Put]:
        bulk = record(queue_id, other, 1, pool="bulk")
        return [Put(record(queue_id, one, 0), Ready()), Put(bulk, Ready())]

    for _ in range(3):
        queue_id = ingress.new_queue_id(now())
        await ingress.accept(queue_id, compose, timeout=5 * SECOND)
    ready = Selection(kinds=frozenset({WaitKind.READY}))
    found = sorted([each.record.pool async for each in spool.waiting.list(ready)])
    assert found == ["bulk"] * 3 + ["default"] * 3


async def test_a_message_of_several_lanes_is_accepted_as_a_whole(
    spool: JetStreamSpool, ingress: JetStreamSpool, link: Link
) -> None:
    await until_seen(ingress)
    domains = [f"b@d{number}.example" for number in range(20)]
    await asyncio.gather(put(ingress, *domains), *(put(ingress, to) for to in TEN))
    assert await stored(link) == 21
    taking = Taking(spool)
    await taking.until(30)
    assert taking.names == sorted([*domains, *TEN])
    await taking.settle_all()
    await until_stored(link, 0)
    await taking.end()


async def test_mail_that_a_shard_refuses_is_stored_in_others(tmp_path: Path) -> None:
    """Each message of a pack goes where there is room, under a new queue id."""
    folder = tmp_path / "four"
    folder.mkdir()
    async with NatsServer(folder) as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE)
        spool, client = await connect(options), await nats.connect(server.url)
        await until_seen(spool)
        for shard in (0, 1, 2):
            await client.jetstream().delete_stream(f"POSTROAD_I_{shard}")
        async with asyncio.timeout(patient(20)):
            queue_ids = await at_once(spool, *TEN)
        assert {shard_of(each) for each in queue_ids} == {3}
        await client.close()
        await spool.close()


# ---------------------------------------------------------------- ended


@pytest.mark.parametrize("seed", range(3))
async def test_mail_is_kept_until_the_last_of_it_has_ended(
    spool: JetStreamSpool, link: Link, seed: int
) -> None:
    """In whatever order, and in either way."""
    await until_seen(spool)
    await at_once(spool, *TEN)
    consumer = take(spool)
    leased = await first(consumer, 10)
    dice = random.Random(seed)
    dice.shuffle(leased)
    for each in leased[:-1]:
        await end(consumer, each, dice.random() < 0.5)
        assert await stored(link) == 1
    await end(consumer, leased[-1], seed % 2 == 0)
    assert await stored(link) == 0
    await consumer.close()
    assert await kinds(spool) == []


async def end(consumer: RecordConsumer, leased: LeasedRecord, plainly: bool) -> None:
    """End a record, in one of two ways."""
    if plainly:
        await consumer.settle(leased, (), [delivery(leased)])
        return
    ended = asyncio.Event()
    consumer.finish(leased, [delivery(leased)], ended.set)
    await asyncio.wait_for(ended.wait(), patient(10))


async def test_records_that_end_at_the_same_time_end_their_mail(
    spool: JetStreamSpool, link: Link
) -> None:
    await until_seen(spool)
    await at_once(spool, *TEN)
    consumer = take(spool)
    leased = await first(consumer, 10)
    await asyncio.gather(*(end(consumer, each, n % 2 == 0) for n, each in enumerate(leased)))
    assert await stored(link) == 0
    await consumer.close()


async def test_a_record_that_ends_twice_ends_no_other(spool: JetStreamSpool, link: Link) -> None:
    await until_seen(spool)
    await at_once(spool, *TEN[:2])
    consumer = take(spool)
    one, other = await first(consumer, 2)
    for _ in range(3):
        await consumer.settle(one)
    assert await stored(link) == 1
    await consumer.settle(other)
    assert await stored(link) == 0
    await consumer.close()


async def test_what_is_put_off_waits_apart(spool: JetStreamSpool, link: Link) -> None:
    await until_seen(spool)
    await at_once(spool, *TEN[:3])
    taking = Taking(spool)
    await taking.until(3)
    await taking.put_off(TEN[1], SECOND)
    await taking.consumer.settle(taking.of(TEN[0]))
    await taking.consumer.settle(taking.of(TEN[2]))
    assert await stored(link) == 0
    again = (await taking.until(4))[-1]
    assert (to_of(again), again.record.step) == (TEN[1], 1)
    await taking.consumer.settle(again)
    await until_empty(spool)
    await taking.end()


# ---------------------------------------------------------------- looked at


async def test_a_listing_has_the_records(spool: JetStreamSpool, link: Link) -> None:
    await until_seen(spool)
    domains = of_one_lane(spool, 3)
    queue_ids = await at_once(spool, *domains, domains[0])
    assert await stored(link) == 1
    for wanted, found in (
        (Selection(), sorted([*domains, domains[0]])),
        (Selection(domain=domains[0].partition("@")[2]), [domains[0]] * 2),
        (Selection(domain="other.example"), []),
        (Selection(queue_id=queue_ids[1]), [domains[1]]),
        (Selection(kinds=frozenset({WaitKind.HELD, WaitKind.DEFERRED})), []),
    ):
        listed = [queued async for queued in spool.waiting.list(wanted)]
        assert sorted(to_of(queued.record) for queued in listed) == found
        assert {queued.kind for queued in listed} <= {WaitKind.READY}


async def test_figures_are_those_of_the_records(spool: JetStreamSpool, link: Link) -> None:
    await until_seen(spool)
    domains = of_one_lane(spool, 2)
    before = now()
    await at_once(spool, *TEN)
    await at_once(spool, *domains * 2, pool="bulk")
    await put(spool, "late@y.example", place=Deferred(now() + 60 * SECOND))
    assert await stored(link) == 2
    counts = await spool.waiting.counts()
    ready = {key: tally.number for key, tally in counts.items() if key[0] is WaitKind.READY}
    assert ready[WaitKind.READY, TrafficClass.TRANSACTIONAL, "y.example"] == 10
    assert sum(ready.values()) == 14
    backlog = await spool.waiting.backlog()
    assert backlog.by_pool() == {"bulk": 4, "default": 10}
    assert (backlog.deferred, backlog.held) == (1, 0)
    assert before - SECOND <= backlog.oldest[WaitKind.READY] <= now()
