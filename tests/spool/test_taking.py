"""Records in hand during failures: restarts, crashes, slow attempts."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.mail.address import parse_mailbox
from postroad.mail.traffic import TrafficClass
from postroad.spool.interface import Deferred, LeasedRecord, Put
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import lane_consumer, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.record import QueuedRecipient, RecipientState
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    all_that_comes,
    first,
    now,
    put,
    take,
)
from postroad_harness.setups.spool.taking import ALL, LATER, OpenJetStream, until_empty, waiting

pytestmark = pytest.mark.nats
BULK = lane_consumer("default", TrafficClass.BULK, "")  # how the names of its consumers begin


@pytest.mark.usefixtures("operator")
async def test_a_hundred_in_hand_survive_the_servers_death_and_none_comes_twice(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    spool = await open_spool()
    for number in range(100):
        await put(spool, f"b{number}@y.example")
    # All are of one lane. Its other shards' requests take places until they run out.
    consumer = spool.take(pool="default", room=1000, room_bytes=50_000_000)
    leased = await first(consumer, 100)
    again: list[LeasedRecord] = []

    async def watch() -> None:
        async for one in consumer:
            again.append(one)  # noqa: PERF401 - what came so far is looked at while it goes on

    watching = asyncio.create_task(watch())
    await server.restart()
    async with asyncio.timeout(patient(40)):
        await asyncio.gather(*(consumer.settle(one) for one in leased))
    await until_empty(spool)
    assert again == []
    watching.cancel()
    await consumer.close()


@pytest.mark.usefixtures("operator")
async def test_what_is_delivered_in_a_drain_ends_though_the_server_forgot_who_had_it(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """The process asks for nothing more, so nothing comes again by which it could tell."""
    spool, heir = await open_spool(), await open_spool()
    for number in range(20):
        await put(spool, f"b@d{number}.example")
    consumer = take(spool)
    leased = await first(consumer, 20)
    await consumer.stop()
    await server.restart()
    async with asyncio.timeout(patient(20)):
        await asyncio.gather(*(consumer.settle(one) for one in leased))
    await consumer.close()
    assert await all_that_comes(heir) == []
    assert await waiting(heir) == []


async def test_a_failure_beside_the_mail_is_told_and_counted(open_spool: OpenJetStream) -> None:
    """It was told when the task's memory was reclaimed, if ever."""
    spool = await open_spool()
    await put(spool)
    consumer, before, came = take(spool), INTERNAL_ERRORS.value, asyncio.Event()
    [leased] = await first(consumer, 1)

    def ended() -> None:
        came.set()
        raise ValueError("nobody planned this")

    consumer.drop(leased)  # the queue's answer to its end would have come first
    with capture_logs() as lines:
        consumer.finish(leased, (), ended)
        async with asyncio.timeout(patient(5)):
            await came.wait()
            while INTERNAL_ERRORS.value == before:
                await asyncio.sleep(0)
    assert [line["part"] for line in lines] == ["Acknowledger._settle_then"]
    await consumer.close()


async def test_a_slow_attempt_keeps_its_lease(spool: JetStreamSpool) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    more = asyncio.ensure_future(first(consumer, 1))
    done, _ = await asyncio.wait([more], timeout=5)  # more than twice ack_wait
    assert not done
    assert consumer.fresh(leased)
    await consumer.settle(leased)
    more.cancel()
    assert await waiting(spool) == []
    await consumer.close()


async def test_a_process_that_cannot_renew_starts_nothing(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert consumer.fresh(leased)
    server.freeze()
    try:
        async with asyncio.timeout(patient(10)):
            while consumer.fresh(leased):
                await asyncio.sleep(0.05)
        assert not await consumer.confirm(leased)
    finally:
        server.thaw()
    async with asyncio.timeout(patient(20)):
        while not await consumer.confirm(leased):
            await asyncio.sleep(0.05)
    await consumer.settle(leased)
    await consumer.close()


@pytest.mark.parametrize("ended", [True, False], ids=["ended by another", "not ended"])
async def test_what_is_left_of_mail_whose_lease_is_in_doubt_is_put_off_unless_another_has_ended_it(
    spool: JetStreamSpool, link: Link, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """One of two recipients has got it by us; the other, if another process had the record."""
    one, other = (QueuedRecipient(parse_mailbox(f"{name}@y.example")) for name in "bc")
    await put(spool, recipients=(one, other), place=Deferred(now()))
    consumer = take(spool)
    [leased] = await first(consumer, 1)

    async def in_doubt(*_: object) -> bool:
        return False

    monkeypatch.setattr(Leases, "confirm", in_doubt)
    if ended:
        [queued] = [queued async for queued in spool.waiting.list(ALL)]
        stream = stream_name(queued.key.stream, queued.key.shard)
        await link.jetstream.delete_msg(stream, queued.key.sequence)
    served = (replace(one, state=RecipientState.DELIVERED), other)
    follows = leased.record.next_step(recipients=served)
    await consumer.settle(leased, [Put(follows, Deferred(now() + LATER))])
    assert await waiting(spool) == ([] if ended else [WaitKind.DEFERRED])
    await consumer.close()


async def test_leases_do_not_wait_for_a_stream_without_a_leader(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a stream leaves the making of each lane's consumer unanswered for seconds."""
    spool = await open_spool()
    send, asked = Requests.send, asyncio.Event()

    async def unanswered_for_bulk(self: Requests, subject: str, *said: Any, **more: Any) -> Any:
        if subject.startswith(
            f"$JS.API.CONSUMER.CREATE.{stream_name(QueueStream.INTAKE, 0)}.{BULK}"
        ):
            asked.set()
            await asyncio.Event().wait()
        return await send(self, subject, *said, **more)

    monkeypatch.setattr(Requests, "send", unanswered_for_bulk)
    await put(spool)
    consumer = spool.take(pool="default", room=10, room_bytes=10_000_000)
    [leased] = await first(consumer, 1)
    await asked.wait()
    await asyncio.sleep(1.5 * QUICK.ack_wait.total_seconds())  # a lease that nobody extends is over
    assert consumer.fresh(leased)
    await consumer.settle(leased)
    await consumer.stop()
    await consumer.close()
