"""A shared body is deleted with its last destination, whichever processes settle them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import APIError

from postroad.spool.interface import Deferred, Put, Ready, RecordConsumer
from postroad.spool.jetstream.nats.direct_get import Link, page
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, ended_subject, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import BlobRef
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    SECOND,
    first,
    is_there,
    now,
    put,
    record,
    share,
)

pytestmark = pytest.mark.nats

OpenSpool = Callable[..., Awaitable[JetStreamSpool]]


async def take(open_spool: OpenSpool, pool: str, room: int = 100) -> RecordConsumer:
    """Take a pool's mail as one more process."""
    spool = await open_spool(pool=pool)
    return spool.take(pool=pool, room=room, room_bytes=10_000_000)


async def end(consumer: RecordConsumer, count: int = 1) -> None:
    for leased in await first(consumer, count):
        await consumer.settle(leased)


async def until_gone(spool: JetStreamSpool, body: BlobRef) -> None:
    async with asyncio.timeout(patient(10)):
        while await is_there(spool, body):
            await asyncio.sleep(0.05)


async def beside(body: BlobRef, link: Link) -> Sequence[bytes]:
    """Return what is kept beside a body."""
    subject = ended_subject(body)
    return [m.data for m in (await page(link, body_stream(body.shard), subject)).messages if m.data]


async def test_nothing_is_written_where_one_process_ends_all_at_once(
    open_spool: OpenSpool, link: Link
) -> None:
    body = await share(await open_spool(), "a", "a", "a")
    consumer = await take(open_spool, "a")
    await end(consumer, 3)
    await consumer.close()
    info = await link.jetstream.stream_info(body_stream(body.shard))
    assert info.state.last_seq == 2, "the body, and what deletes it"


async def test_what_has_ended_takes_one_small_message_until_the_body_goes(
    open_spool: OpenSpool, link: Link
) -> None:
    spool = await open_spool()
    body = await share(spool, *"abcdefghi")
    for number, pool in enumerate("abcdefghi"):
        assert await is_there(spool, body)
        assert [len(octets) for octets in await beside(body, link)] == [2] * bool(number)
        consumer = await take(open_spool, pool)
        await end(consumer)
        await consumer.close()
    assert not await is_there(spool, body)
    assert not await beside(body, link)


async def test_processes_that_write_at_the_same_time_lose_nothing(open_spool: OpenSpool) -> None:
    spool = await open_spool()
    body = await share(spool, *"aaaabbbbcccc")
    consumers = [await take(open_spool, pool) for pool in "abc"]
    for consumer in consumers:
        await end(consumer, 4)
    await asyncio.gather(*(consumer.close() for consumer in consumers))
    assert not await is_there(spool, body)


async def test_a_process_need_not_end_for_that(open_spool: OpenSpool) -> None:
    spool = await open_spool()
    body = await share(spool, "a", "b")
    one, other = await take(open_spool, "a"), await take(open_spool, "b")
    await end(one)
    await end(other)
    await until_gone(spool, body)
    await one.close()
    await other.close()


async def test_a_body_that_is_stored_because_its_mail_waits_goes_with_its_record(
    open_spool: OpenSpool,
) -> None:
    """Each destination that waits has a body of its own, whichever of the message's it is."""
    spool = await open_spool()
    await put(spool, "b@y0.example", "b@y1.example", "b@y2.example", content=b"x" * 60_000)
    consumer = await take(open_spool, "default")
    for leased in await first(consumer, 3):
        await consumer.settle(leased, [Put(leased.record.next_step(), Deferred(now() + SECOND))])
    waited = await first(consumer, 3)
    for leased in waited:
        await consumer.settle(leased)
    for leased in waited:
        assert isinstance(leased.record.content, BlobRef)
        await until_gone(spool, leased.record.content)
    await consumer.close()


async def test_what_cannot_be_written_is_written_when_the_server_is_back(
    open_spool: OpenSpool, server: NatsServer
) -> None:
    spool = await open_spool()
    body = await share(spool, "a", "b")
    one, other = await take(open_spool, "a"), await take(open_spool, "b")
    await end(one)
    await end(other)
    server.kill()
    await server.start()
    await until_gone(spool, body)
    await one.close()
    await other.close()


async def fill(jetstream: JetStreamContext) -> None:
    """Write until there is not even room for a few octets."""
    for size in (100_000, 1000, 1):
        with suppress(APIError):
            while True:
                await jetstream.publish("pr.q.0.ballast", b"x" * size)


async def test_a_body_that_cannot_be_deleted_while_storage_is_full_goes_when_there_is_room(
    tmp_path: Path,
) -> None:
    """What deletes a body is a message, too."""
    async with NatsServer(tmp_path, max_file_store="4MB") as server:
        options = SpoolOptions(servers=(server.url,), pool="a", timings=QUICK)
        await provision(options, layout=SINGLE_MACHINE, capacity=20_000_000)
        spool = await connect(options)
        body = await share(spool, "a")
        consumer = spool.take(pool="a", room=1, room_bytes=1_000_000)
        [leased] = await first(consumer, 1)
        client = await nats.connect(server.url)
        await fill(client.jetstream())
        await consumer.settle(leased)
        assert await is_there(spool, body)
        await client.jetstream().purge_stream(stream_name(QueueStream.WAITING, 0))
        await client.close()
        await until_gone(spool, body)
        await consumer.close()
        await spool.close()


async def test_a_destination_that_ends_twice_is_no_two(open_spool: OpenSpool) -> None:
    """As one does whose acknowledgement a server forgot when it was killed."""
    spool = await open_spool()
    body = await share(spool, "a", "b")

    def again(queue_id: str) -> list[Put]:
        return [Put(record(queue_id, "b@y0.example", 0, pool="a", content=body), Ready())]

    await spool.accept(spool.new_queue_id(now()), again, timeout=patient(5) * SECOND)
    for _ in range(2):
        consumer = await take(open_spool, "a", room=1)
        await end(consumer)
        await consumer.close()
    assert await is_there(spool, body)


async def test_a_body_stays_for_a_record_that_went_back_before_it_was_settled(
    open_spool: OpenSpool,
) -> None:
    """The next to take it has to read the body."""
    spool = await open_spool()
    body = await share(spool, "a")
    consumer = await take(open_spool, "a")
    [leased] = await first(consumer, 1)
    await consumer.close()
    await consumer.settle(leased)
    assert await is_there(spool, body)


async def test_a_body_stays_where_nobody_knows_how_many_share_it(open_spool: OpenSpool) -> None:
    """As an older release leaves it; it has its time to live."""
    spool = await open_spool()
    body = await share(spool, "a", "a", known=0)
    consumer = await take(open_spool, "a")
    await end(consumer, 2)
    await consumer.close()
    assert await is_there(spool, body)
