"""A deleted body stays deleted when nats-server is killed, and leaves nothing beside it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from nats.js.errors import NotFoundError

from postroad.spool.event import EventType, record_event
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.jetstream.nats.direct_get import Link, page
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, body_subject, ended_subject
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import CHUNK, BlobRef
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    SECOND,
    all_that_comes,
    first,
    is_there,
    now,
    put,
    record,
    share,
    store,
    take,
)

pytestmark = pytest.mark.nats


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """One shard, so that all bodies are in one file."""
    async with NatsServer(tmp_path) as running:
        options = SpoolOptions(servers=(running.url,))
        await provision(options, layout=Layout(shards=1, lanes=2, replicas=1))
        yield running


@pytest.fixture
async def spool(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    options = SpoolOptions(servers=(server.url,), timings=QUICK)
    operator = await connect(replace(options, role="operator"))
    opened = await connect(options)
    yield opened
    await opened.close()
    await operator.close()


async def until_gone(spool: JetStreamSpool, body: BlobRef) -> None:
    async with asyncio.timeout(patient(10)):
        while await is_there(spool, body):
            await asyncio.sleep(0.05)


async def until_a_moment_has_passed(server: NatsServer) -> None:
    """Wait until the server has expired what was to last for two seconds from now."""
    client = await nats.connect(server.url)
    jetstream, subject = client.jetstream(), "pr.d.0.moment.0"
    await jetstream.publish(subject, b"x", headers={"Nats-TTL": "2s"})
    async with asyncio.timeout(patient(10)):
        while True:
            try:
                await jetstream.get_last_msg(body_stream(0), subject)
            except NotFoundError:
                break
            await asyncio.sleep(0.1)
    await client.close()


async def written(spool: JetStreamSpool) -> BlobRef:
    """Store a body of several chunks for one record."""
    writer = spool.write_body(lifetime=timedelta(days=5))
    await writer.write(b"Subject: large\r\n\r\n" + b"x" * 2 * CHUNK)
    return await writer.finish(destinations=1)


async def test_a_deleted_body_does_not_come_back_when_the_server_is_killed(
    server: NatsServer, spool: JetStreamSpool
) -> None:
    """Else it stays until its time to live ends, for weeks. It takes 3 s until it could."""
    stays, body = await written(spool), await written(spool)
    await put(spool, content=body)
    assert len(await all_that_comes(spool)) == 1
    await until_gone(spool, body)
    await until_a_moment_has_passed(server)
    await server.restart()
    assert not await is_there(spool, body)
    assert await is_there(spool, stays)


async def left_of(body: BlobRef, link: Link) -> int:
    """Return how many octets of a body, and of what is beside it, are stored."""
    subject = f"{body_subject(body.shard, body.blob_id)}.*"
    found = await page(link, body_stream(body.shard), subject)
    return sum(len(message.data) for message in found.messages)


async def test_no_set_is_begun_when_a_destination_ends_again_after_all_have(
    spool: JetStreamSpool, server: NatsServer, link: Link
) -> None:
    body = await share(spool, "a", "b")
    for pool in "ab":
        await end(server, pool)
    assert not await is_there(spool, body)

    def again(queue_id: str) -> list[Put]:
        return [Put(record(queue_id, "b@y1.example", 1, pool="b", content=body), Ready())]

    await spool.accept(spool.new_queue_id(now()), again, timeout=patient(5) * SECOND)
    await end(server, "b")
    assert await left_of(body, link) == 0, ended_subject(body)


async def end(server: NatsServer, pool: str) -> None:
    """End one record as a process of its own."""
    process = await connect(SpoolOptions(servers=(server.url,), pool=pool, timings=QUICK))
    consumer = process.take(pool=pool, room=1, room_bytes=1_000_000)
    for leased in await first(consumer, 1):
        await consumer.settle(leased)
    await consumer.close()
    await process.close()


async def test_the_body_goes_when_mail_that_has_ended_comes_back(spool: JetStreamSpool) -> None:
    """The process that ended it was killed before it could note that."""
    body = await written(spool)
    queue_id = spool.new_queue_id(now())
    mail = record(queue_id, content=body)
    spool.events.add(
        record_event(EventType.DELIVERY, mail, mail.pending, at=now(), process="tests")
    )
    async with asyncio.timeout(patient(10)):
        await anext(spool.events.read(types=frozenset({EventType.DELIVERY}), follow=True))
    await store(spool, [Put(mail, Deferred(now() + SECOND))])
    consumer = take(spool)
    coming = asyncio.create_task(first(consumer, 1))
    await until_gone(spool, body)
    assert not coming.done()
    coming.cancel()
    await consumer.close()
