"""A stream that takes no records is noticed, told, and spared, until it takes them again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from nats.js import JetStreamContext

from postroad.spool.errors import SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.ids import new_queue_id, shard_of
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.requests import NoResponders
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.publish.refusals import Refusals
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.telemetry.metrics import REGISTRY
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, now, put, record, store
from postroad.testing.queue.tcp_proxy import TcpProxy

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
SOON = replace(QUICK, refusing=timedelta(seconds=0.5), refusing_tried_again=timedelta(seconds=0.5))
LATER = timedelta(hours=1)


class Link(Protocol):
    client: FastClient
    jetstream: JetStreamContext


class Gate(TcpProxy):
    """A way to the server on which publishes to one subject's beginning get lost, as if unread."""

    def __init__(self, url: str) -> None:
        self.lost = b""
        super().__init__(url, self._let_through)

    def _let_through(self, data: bytes) -> bytes:
        if not self.lost:
            return data
        return data.replace(b" " + self.lost, b" xx" + self.lost[2:])


@pytest.fixture
async def gate(server: NatsServer, link: Link) -> AsyncIterator[Gate]:
    async def say_nothing(_: object) -> None:
        pass

    await link.client.subscribe("xx.>", cb=say_nothing)
    await link.client.flush()
    async with Gate(server.url) as way:
        yield way


async def accept(spool: JetStreamSpool, shard: int, *, seconds: float = 5) -> int:
    """Accept one message that begins in a shard; return the shard in which it is."""
    ack = await spool.accept(
        new_queue_id(now(), shard),
        lambda chosen: [Put(record(chosen), Ready())],
        timeout=timedelta(seconds=seconds),
    )
    return shard_of(ack.queue_id)


async def until_stored(spool: JetStreamSpool, deferred: Put) -> None:
    while True:
        try:
            return await store(spool, [deferred], seconds=0.6)
        except SpoolUnavailable:
            continue


async def told(spool: JetStreamSpool) -> dict[str, str]:
    """Return what the sessions of all processes tell."""
    return dict(each for info in await spool.sessions.live() for each in info.refusing)


async def until_told(spool: JetStreamSpool, *streams: str) -> dict[str, str]:
    async with asyncio.timeout(patient(10)):
        while (found := await told(spool)).keys() != set(streams):
            await asyncio.sleep(0.05)
    return found


def shown(stream: str) -> float | None:
    return REGISTRY.get_sample_value("postroad_queue_stream_refuses", {"stream": stream})


async def drawn(spool: JetStreamSpool) -> list[int]:
    """Return the shards of new mail in a second; all mail of a quarter of one goes to one."""
    shards: list[int] = []
    while len(shards) < 50:
        shards.append(shard_of(spool.new_queue_id(now())))
        await asyncio.sleep(0.02)
    return shards


async def until_spared(spool: JetStreamSpool, shard: int) -> None:
    """Wait until a shard gets no new mail, but for a try here and there."""
    async with asyncio.timeout(patient(15)):
        while (await drawn(spool)).count(shard) > 4:
            pass


async def until_spread(spool: JetStreamSpool, *shards: int) -> None:
    """Wait until all of these shards have got new mail."""
    found: set[int] = set()
    async with asyncio.timeout(patient(15)):
        while not found.issuperset(shards):
            found.update(await drawn(spool))


@pytest.mark.nats
async def test_a_stream_that_is_gone_is_told_and_its_mail_goes_elsewhere(
    open_spool: OpenJetStream, link: Link, server: NatsServer
) -> None:
    spool, other = await open_spool(role="ingress", timings=SOON), await open_spool(role="ingress")
    await link.jetstream.delete_stream("POSTROAD_I_0")
    for _ in range(4):
        assert await accept(spool, 0) != 0
    found = await until_told(other, "POSTROAD_I_0")
    assert found == {"POSTROAD_I_0": "the stream has no leader"}
    assert shown("POSTROAD_I_0") == 1
    for process in (spool, other):  # all shards but that one, and here and there one try
        await until_spared(process, 0)
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
    async with asyncio.timeout(patient(10)):
        while await told(other):
            await put(spool)  # one of these tries it
            await asyncio.sleep(0.05)
    assert shown("POSTROAD_I_0") == 0
    await until_spread(spool, *range(SINGLE_MACHINE.shards))


@pytest.mark.nats
async def test_a_stream_that_does_not_answer_is_told_and_gets_little_new_mail(
    open_spool: OpenJetStream, gate: Gate
) -> None:
    spool = await open_spool(role="ingress", servers=(gate.url,), timings=SOON)
    gate.lost = b"pr.i.0."
    for _ in range(2):
        with pytest.raises(SpoolUnavailable):
            await accept(spool, 0, seconds=0.6)
    assert (await until_told(spool, "POSTROAD_I_0"))["POSTROAD_I_0"].startswith("no answer in")
    chosen = [shard_of(spool.new_queue_id(now())) for _ in range(200)]
    assert chosen.count(0) <= 1
    gate.lost = b""
    async with asyncio.timeout(patient(10)):
        while await told(spool):
            await put(spool)
            await asyncio.sleep(0.05)


@pytest.mark.nats
async def test_who_accepts_mail_spares_a_shard_in_which_deferred_mail_finds_no_place(
    open_spool: OpenJetStream, gate: Gate
) -> None:
    ingress = await open_spool(role="ingress", timings=SOON)
    delivery = await open_spool(role="delivery", servers=(gate.url,), timings=SOON)
    gate.lost = b"pr.q.1."
    deferred = Put(record(new_queue_id(now(), 1)), Deferred(now() + LATER))
    storing = asyncio.create_task(until_stored(delivery, deferred))
    await until_told(ingress, "POSTROAD_Q_1")
    await until_spared(ingress, 1)
    await until_spread(ingress, 0, 2, 3)
    gate.lost = b""
    await storing
    await until_told(ingress)


@pytest.mark.nats
async def test_a_restart_of_the_server_is_no_stream_that_refuses(
    open_spool: OpenJetStream, server: NatsServer
) -> None:
    spool = await open_spool(role="ingress", timings=SOON)
    server.kill()
    with pytest.raises(SpoolError):
        await accept(spool, 0, seconds=1.2)
    await server.start()
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
    async with asyncio.timeout(patient(20)):
        while not spool.accepting:
            await asyncio.sleep(0.02)
    await spool.sessions.announce(1)
    assert await told(spool) == {}
    assert await accept(spool, 0) == 0


AFTER = timedelta(seconds=15)
SILENT = SpoolUnavailable("no answer in 3 s")
FULL = SpoolFull("maximum bytes exceeded (10077)", code=10077)


def test_an_election_is_over_before_a_stream_counts_as_refusing() -> None:
    refusals = Refusals(after=AFTER)
    for moment in (0, 5, 10):
        refusals.failed("POSTROAD_I_0", NoResponders("the stream has no leader"), moment)
    assert refusals.found(14) == {}
    refusals.stored("POSTROAD_I_0", 14)
    refusals.failed("POSTROAD_I_0", SILENT, 16)
    assert refusals.found(17) == {}


def test_a_stream_counts_until_it_takes_something_or_nobody_has_tried_for_minutes() -> None:
    refusals = Refusals(after=AFTER)
    for stream in ("POSTROAD_I_0", "POSTROAD_Q_0"):
        refusals.failed(stream, SILENT, 0)
        refusals.failed(stream, SILENT, 15)
    assert list(refusals.found(16)) == ["POSTROAD_I_0", "POSTROAD_Q_0"]
    refusals.stored("POSTROAD_I_0", 17)
    assert refusals.found(15 + 300) == {"POSTROAD_Q_0": "no answer in 3 s"}
    assert refusals.found(16 + 300) == {}


def test_full_storage_is_no_stream_that_refuses_unless_another_takes_mail() -> None:
    refusals = Refusals(after=AFTER)
    refusals.stored("POSTROAD_I_1", 0)
    for moment in (1, 20):
        refusals.failed("POSTROAD_I_0", FULL, moment)
    assert refusals.found(20) == {}
    refusals.stored("POSTROAD_I_1", 21)
    assert list(refusals.found(21)) == ["POSTROAD_I_0"]
