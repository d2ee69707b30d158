"""The body that a killed process left behind is deleted within about an hour, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from nats.js import JetStreamContext

from postroad.spool.agreement import SessionInfo
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import BodyWriter
from postroad.spool.jetstream.bodies.abandoned import (
    AbandonedBodies,
    Sighting,
    sightings,
    unfinished,
)
from postroad.spool.jetstream.cluster.sessions.membership import Membership
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import LAST, body_stream, chunk_subject
from postroad.spool.record import CHUNK, BlobRef
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
    infos = [await jetstream.stream_info(body_stream(k)) for k in range(layout_shards)]
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
        await until_only(kept + 1000, ingress, link)
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


async def test_what_a_deletion_leaves_that_was_cut_short_goes(
    open_spool: OpenSpool, looker: JetStreamSpool, link: Link
) -> None:
    """The last chunk goes first, so the rest is unfinished content again."""
    ingress = await open_spool(role="ingress")
    writer = ingress.write_body(lifetime=LIFETIME)
    await writer.write(b"x" * 2 * CHUNK)
    body = await writer.finish(destinations=1)
    last = chunk_subject(body.shard, body.blob_id, None)
    await link.jetstream.publish(last, b"", headers={"Nats-TTL": "1s"})
    await until_only(1000, looker, link)


class Late(Requests):
    """Whatever is to be stored as a body's last chunk waits until something else is done."""

    def __init__(self, link: NatsLink, first: Callable[[], Awaitable[object]]) -> None:
        super().__init__(link)
        self._first = first
        self.answers: list[bytes] = []

    async def send(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Incoming:
        if not subject.endswith(f".{LAST}"):
            return await super().send(subject, payload, headers=headers, timeout=timeout)
        await self._first()
        answer = await super().send(subject, payload, headers=headers, timeout=timeout)
        self.answers.append(answer.data)
        return answer


class Alone:
    """The sessions that a looker sees: its own."""

    session_id = "me"
    started = datetime(2030, 1, 1, tzinfo=UTC)
    seen = (SessionInfo("me", "delivery", "me", "default", 0, started, taking=True),)


async def test_a_body_that_is_finished_as_it_is_taken_for_left_behind_stays(
    server: NatsServer, spool: JetStreamSpool, link: Link
) -> None:
    """Its message may be accepted by now."""
    writer = await left_behind(spool, link, 0)
    finished: list[BlobRef] = []

    async def finish() -> None:
        if not finished:
            finished.append(await writer.finish(destinations=1))

    own = NatsLink(SpoolOptions(servers=(server.url,)).access())
    await own.open()
    requests = Late(own, finish)
    await requests.start()
    looker = AbandonedBodies(
        requests,
        cast(Membership, Alone()),
        spool.layout,
        after=SOON.abandoned,
        retry=timedelta(seconds=1),
    )
    looker.start()
    async with asyncio.timeout(patient(20)):
        while not requests.answers:
            await asyncio.sleep(0.05)
    assert b"wrong last sequence" in requests.answers[0]
    await looker.close()
    await own.close()
    assert await is_there(spool, finished[0])


ONE = frozenset({"pr.d.0.a.0"})
TWO = ONE | {"pr.d.0.a.1"}


def test_only_what_has_no_last_chunk_is_unfinished() -> None:
    whole = ["pr.d.0.b.0", "pr.d.0.b.last", "pr.d.0.b.ended", "pr.d.0.c.last"]
    assert unfinished([*TWO, *whole, "pr.d.0.d.ended"]) == {
        "pr.d.0.a": TWO,
        "pr.d.0.d": frozenset({"pr.d.0.d.ended"}),
    }


def test_a_body_is_not_old_while_chunks_come() -> None:
    first = sightings({}, {"pr.d.0.a": ONE, "pr.d.0.b": ONE}, 1.0)
    again = sightings(first, {"pr.d.0.a": TWO, "pr.d.0.b": ONE}, 2.0)
    assert again == {"pr.d.0.a": Sighting(TWO, 2.0), "pr.d.0.b": Sighting(ONE, 1.0)}
    assert sightings(again, {"pr.d.0.a": TWO}, 3.0) == {"pr.d.0.a": Sighting(TWO, 2.0)}
