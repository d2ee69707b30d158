"""What new mail is stored in can only grow and be taken from; the rest is delivery's alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig, StreamInfo

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import HOLD_LIMIT, Deferred, LeasedRecord, Put, Ready
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.publish.succession import FOLLOWS, REPLACES
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import end_subject, intake_subject, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    all_that_comes,
    first,
    kinds,
    now,
    put,
    record,
    take,
    until,
)

pytestmark = pytest.mark.nats


class Link(Protocol):
    jetstream: JetStreamContext


OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
LATER = timedelta(hours=1)


async def streams(spool: JetStreamSpool) -> list[QueueStream]:
    """Return in which streams the queue's records are."""
    return sorted([queued.key.stream async for queued in spool.waiting.list(Selection())])


async def test_new_mail_is_in_the_intake_and_what_follows_of_it_is_not(
    spool: JetStreamSpool,
) -> None:
    await put(spool)
    assert await streams(spool) == [QueueStream.INTAKE]
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    report = replace(leased.record, record_id=leased.record.record_id._replace(destination=7))
    later = Put(leased.record.next_step(), Deferred(now() + LATER))
    await consumer.stop()
    await consumer.settle(leased, [later, Put(report, Ready())])
    assert await streams(spool) == [QueueStream.WAITING, QueueStream.WAITING]
    await consumer.close()


@pytest.mark.parametrize("field", [FOLLOWS, REPLACES, "Nats-Scheduler-Of-Mine"])
@pytest.mark.parametrize("named", ["{}", "x", "i1", "-1", ""])
async def test_headers_of_new_mail_mean_nothing_to_other_mail(
    spool: JetStreamSpool, link: Link, field: str, named: str
) -> None:
    """Who accepts mail may write any; delivery's own name records that are to be removed."""
    deferred = await put(spool, place=Deferred(now() + LATER))
    [other] = [queued async for queued in spool.waiting.list(Selection())]
    new = record(new_queue_id(now(), other.key.shard), "b@z.example")
    subject = intake_subject(other.key.shard, new, spool.lane_of(new))
    headers = {field: named.format(other.key.sequence)}
    stored = await link.jetstream.publish(subject, encode(new), headers=headers)
    taken = replace(new, record_id=new.record_id._replace(intake=stored.seq))
    assert [leased.record for leased in await all_that_comes(spool)] == [taken]
    [left] = [queued async for queued in spool.waiting.list(Selection())]
    assert left.record.record_id.queue_id == deferred


@pytest.mark.usefixtures("operator")
async def test_what_ended_in_the_intake_without_its_consumer_is_not_delivered_again(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    """The server lost the consumer; nobody may delete from the intake, and the lane was left."""
    spool, heir = await open_spool(), await open_spool()
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await server.restart()
    async with asyncio.timeout(patient(20)):
        assert await consumer.settle(leased)
    await consumer.close()
    assert await kinds(heir) == [WaitKind.READY]
    assert (await heir.waiting.backlog()).deferred == 0, "the note of its end is no mail"
    again, came = take(heir), list[LeasedRecord]()

    async def watch() -> None:
        async for each in again:
            came.append(each)

    watching = asyncio.create_task(watch())
    await until(heir)
    watching.cancel()
    assert came == []
    await again.close()


@pytest.mark.usefixtures("operator")
async def test_the_note_of_an_end_outlasts_the_mail(
    open_spool: OpenJetStream, server: NatsServer, link: Link
) -> None:
    """A Relay may try mail for 30 days, and a Quota hold it as long: so late it may come again."""
    spool = await open_spool()
    deadline = now() + timedelta(days=30)
    await put(spool, deadline=deadline)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await server.restart()
    async with asyncio.timeout(patient(20)):
        assert await consumer.settle(leased)
    stream = stream_name(QueueStream.WAITING, leased.record.record_id.shard)
    subject = end_subject(leased.record.record_id.shard, leased.record)
    note = await link.jetstream.get_last_msg(stream, subject)
    lives = int((note.headers or {})["Nats-TTL"].removesuffix("s"))
    assert now() + timedelta(seconds=lives) > deadline + HOLD_LIMIT
    await consumer.close()


async def test_nobody_removes_from_the_intake(spool: JetStreamSpool, link: Link) -> None:
    """Except one message by its sequence: the accounts say who may do that."""
    await put(spool)
    [queued] = [queued async for queued in spool.waiting.list(Selection())]
    stream, jetstream = stream_name(queued.key.stream, queued.key.shard), link.jetstream
    for removal in (
        jetstream.purge_stream(stream),
        jetstream.publish(queued.subject, b"", headers={"Nats-Rollup": "all"}),
        jetstream.publish(queued.subject, b"", headers={"Nats-TTL": "1s"}),
    ):
        with pytest.raises(Exception, match="err_code=10"):
            await removal
    assert await kinds(spool) == [WaitKind.READY]


async def test_a_stream_that_the_server_made_otherwise_than_asked_is_no_queue(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take a setting and silently make another one of it."""
    stream_info = JetStreamContext.stream_info

    async def purgeable(self: JetStreamContext, name: str, *_: object) -> StreamInfo:
        info = await stream_info(self, name)
        if name == stream_name(QueueStream.INTAKE, 0):
            info.config = info.config.evolve(deny_purge=False)
        return info

    async def heedless(self: JetStreamContext, config: StreamConfig) -> StreamInfo:
        assert config.name is not None
        return await self.stream_info(config.name)

    monkeypatch.setattr(JetStreamContext, "stream_info", purgeable)
    monkeypatch.setattr(JetStreamContext, "update_stream", heedless)
    with pytest.raises(SpoolUnavailable, match="POSTROAD_I_0 with another deny_purge"):
        await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
