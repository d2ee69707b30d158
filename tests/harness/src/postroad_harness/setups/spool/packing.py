"""Mail that is accepted at once and so stored together, and what the streams of a shard have."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from postroad.spool.event import Event, EventType, record_event
from postroad.spool.interface import Deferred, LeasedRecord, Put
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import QueueRecord
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now, put, record

INTAKE, WAITING = "POSTROAD_I_0", "POSTROAD_Q_0"


@asynccontextmanager
async def one_shard(folder: Path, *, lanes: int = 8) -> AsyncIterator[NatsServer]:
    """Run a server with a queue of one shard."""
    async with NatsServer(folder) as running:
        layout = Layout(shards=1, lanes=lanes, replicas=1)
        await provision(SpoolOptions(servers=(running.url,)), layout=layout)
        yield running


async def until_seen(spool: JetStreamSpool, deliveries: int = 1) -> None:
    """Wait until a process knows of so many delivery processes."""
    async with asyncio.timeout(patient(10)):
        while True:
            if sum(each.role == "delivery" for each in spool.sessions.seen) == deliveries:
                return
            await asyncio.sleep(0.02)


async def at_once(spool: JetStreamSpool, *to: str, **more: Any) -> list[str]:
    """Accept a message for each of these recipients, all at once; return their queue ids."""
    return await asyncio.gather(*(put(spool, each, **more) for each in to))


def of_one_lane(spool: JetStreamSpool, count: int) -> list[str]:
    """Return recipients in so many domains whose mail is in one lane."""
    found: dict[str, list[str]] = {}
    number = 0
    while True:
        to, number = f"b@d{number}.example", number + 1
        lane = found.setdefault(spool.lane_of(record("0" * 26, to)), [])
        lane.append(to)
        if len(lane) == count:
            return lane


async def stored(link: Link, stream: str = INTAKE) -> int:
    """Return how many messages a stream has."""
    return int((await link.jetstream.stream_info(stream)).state.messages)


async def packed(spool: JetStreamSpool, link: Link, *to: str) -> None:
    """Accept mail for these recipients as one message of the intake."""
    await until_seen(spool)
    await at_once(spool, *to)
    assert await stored(link) == 1


async def until_stored(link: Link, count: int, stream: str = INTAKE) -> None:
    """Wait until a stream has so many messages."""
    async with asyncio.timeout(patient(20)):
        while True:
            if await stored(link, stream) == count:
                return
            await asyncio.sleep(0.02)


async def until_in_hand(link: Link, messages: int) -> None:
    """Wait until so many messages of the intake are handed out, by the server's account."""
    async with asyncio.timeout(patient(20)):
        while True:
            consumers = await link.jetstream.consumers_info(INTAKE)
            if sum(each.num_ack_pending or 0 for each in consumers) == messages:
                return
            await asyncio.sleep(0.02)


async def until_written(spool: JetStreamSpool, count: int) -> None:
    """Wait until the history has so many deliveries."""
    async with asyncio.timeout(patient(10)):
        deliveries = spool.events.read(types=frozenset({EventType.DELIVERY}), follow=True)
        for _ in range(count):
            await anext(deliveries)


async def until_said(lines: Sequence[Mapping[str, object]], what: str, *, times: int = 1) -> None:
    """Wait until a line of the log was written so often."""
    async with asyncio.timeout(patient(20)):
        while True:
            if sum(each["event"] == what for each in lines) >= times:
                return
            await asyncio.sleep(0.05)


def delivery(leased: LeasedRecord) -> Event:
    """Return the event of a record's delivery to all its recipients."""
    mail = leased.record
    return record_event(EventType.DELIVERY, mail, mail.pending, at=now(), process="tests")


def to_of(mail: LeasedRecord | QueueRecord) -> str:
    """Return the first recipient."""
    mine = mail if isinstance(mail, QueueRecord) else mail.record
    return str(mine.recipients[0].mailbox)


class Taking:
    """A process that takes mail, and has it under way until told otherwise."""

    def __init__(self, spool: JetStreamSpool, *, pool: str = "default", room: int = 100) -> None:
        self.consumer = spool.take(pool=pool, room=room, room_bytes=room * 300_000)
        self.leased: list[LeasedRecord] = []
        self._came = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for leased in self.consumer:
            self.leased.append(leased)
            self._came.set()

    @property
    def names(self) -> list[str]:
        """The recipients of all that was handed out, sorted."""
        return sorted(map(to_of, self.leased))

    def of(self, to: str) -> LeasedRecord:
        """Return the last record for a recipient that was handed out."""
        return next(each for each in reversed(self.leased) if to_of(each) == to)

    async def until(self, count: int) -> Sequence[LeasedRecord]:
        """Wait until so many records were handed out, and return them."""
        async with asyncio.timeout(patient(20)):
            while len(self.leased) < count:
                self._came.clear()
                await self._came.wait()
        return list(self.leased)

    async def put_off(self, to: str, for_: timedelta) -> bool:
        """Put the record for a recipient off; return whether that was stored."""
        leased = self.of(to)
        later = Put(leased.record.next_step(), Deferred(now() + for_))
        return await self.consumer.settle(leased, [later])

    async def settle_all(self) -> None:
        """Settle all that was handed out."""
        for each in self.leased:
            await self.consumer.settle(each)

    async def end(self) -> None:
        """Stop, as a process does."""
        await self.consumer.stop()
        await self._task
        await self.consumer.close()
