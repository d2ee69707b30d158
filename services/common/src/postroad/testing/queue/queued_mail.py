"""Messages for tests of the queue, and helpers to store and take them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from postroad.mail.address import parse_mailbox
from postroad.spool.errors import BodyMissing
from postroad.spool.ids import RecordId
from postroad.spool.interface import (
    Deferred,
    Held,
    LeasedRecord,
    Put,
    QueueState,
    Ready,
    RecordConsumer,
    Spool,
)
from postroad.spool.jetstream.consume.consumer import JetStreamConsumer
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import BlobRef, QueuedRecipient, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient

OpenSpool = Callable[[], Awaitable[Spool]]  # one more process's spool on a cluster
SECOND = timedelta(seconds=1)
# Short timings, so that a test can wait until leases and sessions expire.
QUICK = Timings(
    session_life=timedelta(seconds=2),
    renewal=timedelta(seconds=0.3),
    self_doubt=timedelta(seconds=1.5),
    ack_wait=timedelta(seconds=2),
    lease_fresh=timedelta(seconds=1.2),
    sweep=timedelta(seconds=1),
    pools=timedelta(seconds=0.3),
    suspects=timedelta(seconds=0.3),
    gathering=timedelta(seconds=0.2),
)


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def record(queue_id: str, to: str = "b@y.example", number: int = 0, **more: object) -> QueueRecord:
    """Return a record for one recipient; `more` are further fields."""
    mailbox = parse_mailbox(to)
    fields: dict[str, object] = {
        "record_id": RecordId(queue_id, number),
        "reverse_path": parse_mailbox("a@x.example"),
        "recipients": (QueuedRecipient(mailbox),),
        "domain": mailbox.domain,
        "arrival": now(),
        "deadline": now() + timedelta(days=5),
        "content": b"Subject: hi\r\n\r\nbody\r\n",
    }
    return QueueRecord(**(fields | more))  # type: ignore[arg-type]


async def put(spool: Spool, *to: str, place: QueueState | None = None, **more: object) -> str:
    """
    Store one message with one record for each recipient; return its queue id.

    Ready mail is accepted. Other mail is stored where it waits, as delivery does.
    """

    def compose(queue_id: str) -> list[Put]:
        return [
            Put(record(queue_id, address, number, **more), place or Ready())
            for number, address in enumerate(to or ("b@y.example",))
        ]

    queue_id = spool.new_queue_id(now())
    if isinstance(place, Deferred | Held):
        await store(spool, compose(queue_id))
        return queue_id
    return (await spool.accept(queue_id, compose, timeout=patient(5) * SECOND)).queue_id


async def store(spool: Spool, puts: Sequence[Put], *, seconds: float = 5) -> None:
    """Store records of one message where mail waits, as a process that dies when it settles."""
    shard = puts[0].record.record_id.shard
    spool = getattr(spool, "as_delivery", spool)
    nothing = Key(QueueStream.WAITING, shard, 0)
    if isinstance(spool, MemorySpool):
        spool.store.append(puts, spool.store.names_of(puts, nothing))
        return
    assert isinstance(spool, JetStreamSpool)
    await spool._publisher.publish(puts, timeout=patient(seconds) * SECOND, origin=nothing)


async def share(spool: Spool, *pools: str, known: int | None = None) -> BlobRef:
    """Accept a message with a destination in each of these pools; return the shared body."""
    writer = spool.write_body(lifetime=timedelta(days=5))
    await writer.write(b"Subject: large\r\n\r\n" + b"x" * 200_000)
    body = await writer.finish(destinations=len(pools) if known is None else known)

    def compose(queue_id: str) -> list[Put]:
        return [
            Put(record(queue_id, f"b@y{n}.example", n, pool=pool, content=body), Ready())
            for n, pool in enumerate(pools)
        ]

    await spool.accept(spool.new_queue_id(now()), compose, timeout=patient(5) * SECOND)
    return body


async def is_there(spool: Spool, body: BlobRef) -> bool:
    """Whether a body can be read."""
    try:
        async for _ in spool.read_body(record("0" * 26, content=body)):
            pass
    except BodyMissing:
        return False
    return True


def take(spool: Spool, *, room: int = 100) -> RecordConsumer:
    """Begin to consume, with room for so many records of 300 kB each."""
    return spool.take(pool="default", room=room, room_bytes=room * 300_000)


async def crash(consumer: RecordConsumer) -> None:
    """End a consumer without giving back or releasing anything, which simulates a kill."""
    assert isinstance(consumer, JetStreamConsumer)
    await consumer._tasks.cancel()  # those that leave the lanes, too
    await consumer.stop()


async def crash_process(spool: Spool, consumer: RecordConsumer) -> None:
    """Simulate the kill of a process: its session and its notes stay until they expire."""
    await crash(consumer)
    assert isinstance(spool, JetStreamSpool)
    await spool.sessions._tasks.cancel()


async def first(consumer: RecordConsumer, count: int) -> list[LeasedRecord]:
    """Return the next `count` records taken."""
    found: list[LeasedRecord] = []
    async for leased in consumer:
        found.append(leased)
        if len(found) == count:
            break
    return found


async def kinds(spool: Spool) -> list[WaitKind]:
    """Return the kinds of all records in the queue."""
    return sorted([queued.kind async for queued in spool.waiting.list(Selection())])


async def until(spool: Spool, *wanted: WaitKind) -> None:
    """Wait until the records in the queue have these kinds."""
    async with asyncio.timeout(patient(20)):
        while True:
            if await kinds(spool) == list(wanted):
                return
            await asyncio.sleep(0.05)


async def all_that_comes(spool: Spool) -> list[LeasedRecord]:
    """Settle records until none is ready; return those that came."""
    consumer, come = take(spool), list[LeasedRecord]()

    async def deliver() -> None:
        async for leased in consumer:
            come.append(leased)
            await consumer.settle(leased)

    delivering = asyncio.create_task(deliver())
    async with asyncio.timeout(patient(20)):
        while True:
            if WaitKind.READY not in await kinds(spool):
                break
            await asyncio.sleep(0.05)
    delivering.cancel()
    await consumer.close()
    return come
