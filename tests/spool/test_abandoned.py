"""The body that a killed process left behind is deleted within about an hour, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from nats.js import JetStreamContext

from postroad.spool.errors import ClaimLost, SpoolUnavailable
from postroad.spool.interface import BodyWriter
from postroad.spool.jetstream.bodies.writer import CHUNK, clear_subject
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import blob_stream, blob_subject
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, first, is_there, put, take

pytestmark = pytest.mark.nats

OpenSpool = Callable[..., Awaitable[JetStreamSpool]]

LIFETIME = timedelta(days=5)
SOON = replace(QUICK, abandoned=timedelta(seconds=1))


@pytest.fixture
async def looker(open_spool: OpenSpool) -> AsyncIterator[JetStreamSpool]:
    """A delivery process, which looks for what is left behind."""
    spool = await open_spool(timings=SOON)
    await put(spool)
    consumer = take(spool)
    for leased in await first(consumer, 1):
        await consumer.settle(leased)
    yield spool
    await consumer.close()


async def stored(link: Link, layout_shards: int) -> int:
    """Return the octets of all bodies."""
    jetstream: JetStreamContext = link.jetstream
    infos = [await jetstream.stream_info(blob_stream(k)) for k in range(layout_shards)]
    return sum(info.state.bytes for info in infos)


async def left_behind(spool: JetStreamSpool, link: Link, more: int) -> BodyWriter:
    """Store a part of a body, beside `more` octets of others."""
    writer = spool.write_body(lifetime=LIFETIME)
    await writer.write(b"x" * (2 * CHUNK + 1))
    async with asyncio.timeout(patient(10)):
        while await stored(link, spool.layout.shards) < more + 2 * CHUNK:
            await asyncio.sleep(0.05)
    return writer


async def until_only(octets: int, spool: JetStreamSpool, link: Link) -> None:
    async with asyncio.timeout(patient(20)):
        while await stored(link, spool.layout.shards) > octets:
            await asyncio.sleep(0.05)


async def test_what_is_not_finished_goes_and_what_is_whole_stays(
    open_spool: OpenSpool, looker: JetStreamSpool, link: Link
) -> None:
    ingress = await open_spool(role="ingress")
    writer = ingress.write_body(lifetime=LIFETIME)
    await writer.write(b"x" * 2 * CHUNK)
    whole = await writer.finish(destinations=1)
    kept = await stored(link, ingress.layout.shards)
    for _ in range(2):  # by the second all that was there with the first has been looked at
        await left_behind(ingress, link, kept)
        await until_only(kept, ingress, link)
    assert await is_there(looker, whole)


async def test_a_body_that_was_taken_for_left_behind_is_not_finished(
    open_spool: OpenSpool, looker: JetStreamSpool, link: Link
) -> None:
    """Else its message is accepted, and lacks what was deleted."""
    ingress = await open_spool(role="ingress")
    writer = await left_behind(ingress, link, 0)
    await until_only(1000, ingress, link)
    with pytest.raises(SpoolUnavailable):
        await writer.finish(destinations=1)
    await writer.abort()


async def test_a_body_that_went_on_since_it_was_looked_at_is_not_deleted(
    server: NatsServer, spool: JetStreamSpool
) -> None:
    """It may be finished by now, and its message accepted."""
    writer = spool.write_body(lifetime=LIFETIME)
    await writer.write(b"x" * 2 * CHUNK)
    whole = await writer.finish(destinations=1)
    own = NatsLink(SpoolOptions(servers=(server.url,)).access())
    await own.open()
    requests = Requests(own)
    await requests.start()
    subject = blob_subject(whole.shard, whole.blob_id)
    with pytest.raises(ClaimLost):
        await clear_subject(requests, subject, after=1)
    assert await is_there(spool, whole)
    await clear_subject(requests, subject, after=2)
    assert not await is_there(spool, whole)
    await own.close()
