"""Content of mail that is not accepted leaves room for others, and is freed with its client."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import cast

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import APIError

from postroad.spool.errors import SpoolFull
from postroad.spool.interface import BodyWriter
from postroad.spool.jetstream.bodies.unfinished import UnfinishedBodies, UnfinishedBody
from postroad.spool.jetstream.bodies.writer import LEAST_CHUNK, BlobWriter, Writing
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.disk import encoded, reserve
from postroad.spool.jetstream.streams.subjects import body_stream, stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, put

LIMIT = 40_000_000
LIFETIME = timedelta(days=5)

OpenLink = Callable[[], Awaitable[Link]]
OpenSpool = Callable[..., Awaitable[JetStreamSpool]]


class Storage:
    """A thousand octets, or more, less what is stored of unfinished content."""

    def __init__(self, processes: int = 1, room: float = 1000.0) -> None:
        self.unfinished = UnfinishedBodies(self, processes=lambda: processes)
        self.others: list[UnfinishedBodies] = []
        self.near_full = False
        self.whole_room = room

    @property
    def room(self) -> float:
        return self.whole_room - sum(each.octets for each in (self.unfinished, *self.others))


def leased(portion: UnfinishedBody, *, piece: int = 10) -> int:
    """Take octets until there are no more; return how many."""
    octets = 0
    with suppress(SpoolFull):
        while True:
            portion.take(piece, last=False)
            octets += piece
    return octets


def test_strangers_have_half_of_the_room_however_many_they_are() -> None:
    room = Storage().unfinished
    assert sum(leased(room.begin(known=False)) for _ in range(100)) <= 500


def test_a_stranger_who_brings_little_passes_those_who_hold_much() -> None:
    room = Storage().unfinished
    hoarders = [room.begin(known=False) for _ in range(3)]
    for hoarder in hoarders:
        leased(hoarder)
    assert leased(room.begin(known=False)) > 50
    assert not leased(hoarders[0])


def test_a_client_goes_on_where_strangers_are_refused() -> None:
    room = Storage().unfinished
    while leased(room.begin(known=False)):
        pass
    strangers = room.octets
    assert strangers + leased(room.begin(known=True)) == 750


def test_processes_share_the_room() -> None:
    assert leased(Storage(processes=4).unfinished.begin(known=True)) == 180


def test_no_number_of_processes_leaves_a_process_without_room() -> None:
    """Sessions tell the number, and an intruder may write thousands of them."""
    assert leased(Storage(processes=10**6).unfinished.begin(known=True)) == 180


def test_a_large_room_is_divided_by_a_hundred_at_most() -> None:
    storage = Storage(processes=10**6, room=100 * 10**9)
    taken = leased(storage.unfinished.begin(known=True), piece=10**6)
    assert taken == 750 * 10**6


@pytest.mark.parametrize("processes", [5, 20, 100])
def test_many_processes_leave_some_of_the_room(processes: int) -> None:
    storage = Storage(processes=processes)
    others = [UnfinishedBodies(storage, processes=lambda: processes) for _ in range(processes)]
    storage.others = others
    assert sum(leased(each.begin(known=True), piece=1) for each in others) >= 500
    assert storage.room > 90


def test_the_end_of_a_message_is_refused_only_near_full() -> None:
    storage = Storage()
    room = storage.unfinished
    small = room.begin(known=False)
    leased(room.begin(known=True))
    small.take(500, last=True)
    storage.near_full = True
    with pytest.raises(SpoolFull):
        small.take(1, last=True)


def test_what_is_given_up_or_finished_is_free_for_others() -> None:
    room = Storage().unfinished
    for _ in range(3):
        portion = room.begin(known=False)
        assert leased(portion) == 250
        portion.end()


class Filling:
    """A server whose storage is near full with the first chunk it takes."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.deleted: list[str] = []

    async def send(
        self, subject: str, payload: bytes, *, headers: Mapping[str, str], timeout: float
    ) -> Incoming:
        self.storage.near_full = True
        if not payload:
            self.deleted.append(subject)
        return Incoming(subject, "", b"", b'{"stream":"S","seq":1}')


async def test_a_body_is_not_finished_that_makes_storage_near_full_itself() -> None:
    """Else nobody would delete it: its message is refused as it is accepted."""
    storage = Storage()
    server = Filling(storage)
    writing = Writing(cast(Requests, server), retry=timedelta(seconds=2))
    portion = storage.unfinished.begin(known=True)
    writer = BlobWriter(writing, 0, lifetime=LIFETIME, portion=portion)
    await writer.write(b"x")
    with pytest.raises(SpoolFull):
        await writer.finish(destinations=1)
    await writer.abort()
    assert len(server.deleted) == 1
    assert (storage.unfinished.octets, storage.unfinished.bodies) == (0, 0)
    await writing.deletions.close()


@pytest.fixture
async def limited(server: NatsServer, open_link: OpenLink) -> Bucket:
    """Say that little fits into the queue."""
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE, capacity=LIMIT)
    return Bucket(await open_link(), "presence")


async def stored(spool: JetStreamSpool, jetstream: JetStreamContext) -> int:
    """Return the octets of all bodies."""
    infos = [await jetstream.stream_info(body_stream(k)) for k in range(spool.layout.shards)]
    return sum(info.state.bytes for info in infos)


async def upload(spool: JetStreamSpool, octets: int, *, known: bool) -> BodyWriter | None:
    """Store content without its end; None when it was refused, and given up."""
    writer = spool.write_body(lifetime=LIFETIME, known=known)
    try:
        for _ in range(octets // LEAST_CHUNK):
            await writer.write(b"x" * LEAST_CHUNK)
    except SpoolFull:
        await writer.abort()
        return None
    return writer


async def until_less(spool: JetStreamSpool, jetstream: JetStreamContext, octets: int) -> None:
    async with asyncio.timeout(patient(15)):
        while await stored(spool, jetstream) > octets:
            await asyncio.sleep(0.05)


async def until_knows_room(spool: JetStreamSpool, presence: Bucket) -> None:
    """Wait until a process has heard how much room there is."""
    await presence.put("disk.a", encoded(0))
    async with asyncio.timeout(patient(15)):
        while spool.accepting:
            await asyncio.sleep(0.05)
        await presence.put("disk.a", encoded(10 * LIMIT))
        while not spool.accepting:
            await asyncio.sleep(0.05)


@pytest.mark.nats
async def test_strangers_uploads_leave_room_for_others_and_go_with_them(
    limited: Bucket, open_spool: OpenSpool, open_link: OpenLink
) -> None:
    spool, jetstream = await open_spool(role="ingress"), (await open_link()).jetstream
    await until_knows_room(spool, limited)
    begun = [await upload(spool, 900_000, known=False) for _ in range(60)]
    uploads = [writer for writer in begun if writer is not None]
    assert 0 < len(uploads) < len(begun), "some were refused"
    assert await stored(spool, jetstream) <= LIMIT * 0.8 / 2
    client = await upload(spool, 2_000_000, known=True)
    assert client is not None
    await client.finish(destinations=1)
    await put(spool)
    assert await upload(spool, 4_000_000, known=False) is None
    for writer in uploads:
        await writer.abort()
    await until_less(spool, jetstream, 2_100_000)


@pytest.mark.nats
async def test_content_is_refused_while_storage_is_near_full(
    limited: Bucket, open_spool: OpenSpool, open_link: OpenLink
) -> None:
    spool, jetstream = await open_spool(role="ingress"), (await open_link()).jetstream
    begun = await upload(spool, 2_000_000, known=True)
    assert begun is not None
    await limited.put("disk.a", encoded(reserve(LIMIT) // 2))
    async with asyncio.timeout(patient(15)):
        while spool.accepting:
            await asyncio.sleep(0.05)
    with pytest.raises(SpoolFull):
        await begun.finish(destinations=1)
    await begun.abort()
    assert await upload(spool, 2_000_000, known=True) is None
    await until_less(spool, jetstream, 1000)


async def fill(jetstream: JetStreamContext, subject: str) -> None:
    """Write until there is not even room for an octet."""
    for size in (100_000, 1000, 1):
        with suppress(APIError):
            while True:
                await jetstream.publish(subject, b"x" * size)


@pytest.mark.nats
async def test_what_a_client_leaves_while_storage_is_full_goes_when_there_is_room(
    tmp_path: Path,
) -> None:
    """What deletes it is a message, too."""
    async with NatsServer(tmp_path, max_file_store="8MB") as server:
        options = SpoolOptions(servers=(server.url,), timings=QUICK)
        await provision(options, layout=SINGLE_MACHINE, capacity=8_000_000)
        spool = await connect(options)
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        writer = await upload(spool, 2_000_000, known=True)
        assert writer is not None
        await fill(jetstream, "pr.q.0.ballast")
        await writer.abort()
        assert await stored(spool, jetstream) > 1_000_000
        await jetstream.purge_stream(stream_name(QueueStream.WAITING, 0))
        await until_less(spool, jetstream, 1000)
        await client.close()
        await spool.close()
