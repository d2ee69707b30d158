"""Mail that has ended, and that nats-server brings back when it is killed; see `cluster.ended`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.event import Event, EventType, record_event
from postroad.spool.interface import Deferred, LeasedRecord, RecordConsumer
from postroad.spool.jetstream.cluster.ended import EndedMail, without_ended
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import QueuedRecipient, RecipientState
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    SECOND,
    crash_process,
    first,
    kinds,
    now,
    put,
    record,
    take,
    until,
)

pytestmark = pytest.mark.nats

_LARGE = b"Subject: large\r\n\r\n" + b"x" * 14_000
_BLOCK = 310  # such records, and a block of the server is full


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as running:
        options = SpoolOptions(servers=(running.url,))
        await provision(options, layout=Layout(shards=1, lanes=2, replicas=1))
        yield running


@pytest.fixture(autouse=True)
async def _operator(server: NatsServer) -> AsyncIterator[None]:
    """Make the bucket of sessions again when the server has forgotten it."""
    spool = await connect(SpoolOptions(servers=(server.url,), role="operator", timings=QUICK))
    yield
    await spool.close()


async def open_one(server: NatsServer) -> JetStreamSpool:
    return await connect(SpoolOptions(servers=(server.url,), timings=QUICK))


def delivery(leased: LeasedRecord) -> Event:
    mail = leased.record
    return record_event(EventType.DELIVERY, mail, mail.pending, at=now(), process="tests")


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)


async def until_written(spool: JetStreamSpool, count: int) -> None:
    """Wait until the history has so many deliveries."""
    async with asyncio.timeout(patient(10)):
        deliveries = spool.events.read(types=frozenset({EventType.DELIVERY}), follow=True)
        for _ in range(count):
            await anext(deliveries)


async def all_that_comes(spool: JetStreamSpool) -> list[LeasedRecord]:
    """Settle what comes until the queue is empty, and return it."""
    consumer, come = take(spool), list[LeasedRecord]()

    async def deliver() -> None:
        async for leased in consumer:
            come.append(leased)
            await consumer.settle(leased)

    delivering = asyncio.create_task(deliver())
    await until(spool)
    delivering.cancel()
    await consumer.close()
    return come


async def settle(
    consumer: RecordConsumer, mail: Sequence[LeasedRecord], *, told: bool = True
) -> None:
    await asyncio.gather(
        *(consumer.settle(each, (), [delivery(each)] if told else ()) for each in mail)
    )


async def deliver_so_that_one_comes_back(spool: JetStreamSpool, *, told: bool = True) -> None:
    """
    Deliver mail, the last of a block last, while an older block has mail that is under way.

    The block is kept, because it has the note that the first of this mail has ended.
    """
    await put(spool, "stays@y.example")
    consumer = take(spool, room=2000)
    await first(consumer, 1)
    await put(spool, "first@y.example")
    early = await first(consumer, 1)
    await put(spool, *(f"b{number}@y.example" for number in range(_BLOCK)), content=_LARGE)
    await settle(consumer, early, told=told)
    await put(spool, *(f"c{number}@y.example" for number in range(_BLOCK)), content=_LARGE)
    await settle(consumer, await first(consumer, 2 * _BLOCK), told=told)
    assert await kinds(spool) == [WaitKind.READY]
    if told:
        await until_written(spool, 1 + 2 * _BLOCK)
    await crash_process(spool, consumer)


async def test_mail_that_has_ended_is_not_delivered_when_it_comes_back(
    server: NatsServer,
) -> None:
    """Over 5 s, like the next: it fills two blocks of the server's store."""
    spool = await open_one(server)
    await deliver_so_that_one_comes_back(spool)
    await server.restart()
    assert await kinds(spool) == [WaitKind.READY, WaitKind.READY], "nothing came back"
    successor = await open_one(server)
    [stayed] = await all_that_comes(successor)
    assert str(stayed.record.recipients[0].mailbox) == "stays@y.example"
    await successor.close()
    await spool.close()


async def test_mail_that_has_ended_is_not_delivered_when_its_schedule_comes_back(
    server: NatsServer,
) -> None:
    spool = await open_one(server)
    queue_id = await put(spool, "b@y.example", place=Deferred(now() + SECOND))
    mail = record(queue_id)
    spool.events.add(
        record_event(EventType.DELIVERY, mail, mail.pending, at=now(), process="tests")
    )
    await until_written(spool, 1)
    assert not await all_that_comes(spool)
    await spool.close()


async def test_mail_of_which_the_history_knows_no_end_is_delivered(server: NatsServer) -> None:
    spool = await open_one(server)
    await deliver_so_that_one_comes_back(spool, told=False)
    await server.restart()
    successor = await open_one(server)
    consumer = take(successor)
    async with asyncio.timeout(patient(20)):
        for leased in await first(consumer, 2):
            await consumer.settle(leased)
    await consumer.close()
    await successor.close()
    await spool.close()


# ---------------------------------------------------------------- what is left


def test_of_several_recipients_only_those_are_left_that_have_not_ended() -> None:
    several = tuple(QueuedRecipient(parse_mailbox(f"{each}@y.example")) for each in "abc")
    mail = record("0" * 26, recipients=several, resume_from=2)
    ended = {"a@y.example": RecipientState.DELIVERED, "b@y.example": RecipientState.BOUNCED}
    left = without_ended(mail, ended)
    assert left is not None
    assert [each.state for each in left.recipients] == [
        *(RecipientState.DELIVERED, RecipientState.BOUNCED, RecipientState.PENDING)
    ]
    assert left.resume_from == 0, "it would leave out who was not tried"
    assert without_ended(mail, ended | {"c@y.example": RecipientState.DELIVERED}) is None
    assert without_ended(mail, {}) is mail


@pytest.mark.parametrize("restart", [timedelta(0), timedelta(seconds=90), timedelta(hours=10)])
async def test_the_end_is_known_however_long_the_servers_were_away(
    server: NatsServer, restart: timedelta
) -> None:
    spool = await open_one(server)
    mail = record("0" * 26)
    spool.events.add(
        record_event(EventType.DELIVERY, mail, mail.pending, at=now(), process="tests")
    )
    await until_written(spool, 1)
    link = NatsLink(SpoolOptions(servers=(server.url,)).access())
    await link.open()
    assert await EndedMail(link).left_of(mail, nanoseconds(now() + restart)) is None
    await link.close()
    await spool.close()


async def test_mail_is_delivered_where_the_history_may_not_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    In a NATS of one's own, with the permissions of an older release. Servers that are starting
    answer later, so mail waits for them a while.
    """

    class Silent(FastClient):
        def new_inbox(self) -> str:
            raise OSError("no answer")

    link: Any = SimpleNamespace(client=Silent())
    mail = record("0" * 26)
    ended, restart = EndedMail(link), nanoseconds(now())
    with pytest.raises(SpoolUnavailable):
        await ended.left_of(mail, restart)
    monkeypatch.setattr("postroad.spool.jetstream.cluster.ended.PATIENCE", timedelta(0))
    assert await ended.left_of(mail, restart) is mail
