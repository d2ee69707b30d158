"""Records that may have killed their process: tried one at a time; only a culprit is held."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.event import EventType
from postroad.spool.interface import LeasedRecord
from postroad.spool.jetstream.consume.poison.suspects import POISON, SUSPECT
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.provision import PRESENCE
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import QUICK, crash, first, put, take

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]
ALL = Selection()
DEATHS = SUSPECT - 1 + POISON  # of the processes that have a record, until it is held


async def die_with(spool: JetStreamSpool, killers: str = "") -> list[LeasedRecord]:
    """
    Take what comes, and settle it, until a record of a sender comes; then die as if by that.

    Without one, die by what comes first. Return what was settled.
    """
    consumer = take(spool)
    settled: list[LeasedRecord] = []
    async with asyncio.timeout(patient(20)):
        async for leased in consumer:
            if str(leased.record.reverse_path).startswith(killers):
                break
            await consumer.settle(leased)
            settled.append(leased)
    await crash(consumer)
    return settled


async def put_suspects(spool: JetStreamSpool, count: int) -> None:
    """Put records that processes have had in hand as often as makes them suspects."""
    for number in range(count):
        await put(spool, f"b{number}@y.example")
    for _ in range(SUSPECT - 1):
        consumer = take(spool)
        async with asyncio.timeout(patient(20)):
            await first(consumer, count)
        await crash(consumer)


async def holds(spool: JetStreamSpool) -> list[tuple[str, str]]:
    """Return the sender of what is held, and why it is."""
    held = [queued.record async for queued in spool.waiting.list(ALL) if queued.record.hold]
    return [(str(each.reverse_path), each.hold.reason) for each in held if each.hold]


async def test_a_record_that_kills_its_process_is_held_and_nothing_beside_it(
    open_spool: OpenJetStream,
) -> None:
    """Twenty seconds: each death is known when a lease of 2 s has run out."""
    spool = await open_spool()
    killer = parse_mailbox("killer@x.example")
    await put(spool, reverse_path=killer)  # first in its lane: it dies before others are settled
    await put(spool, *(f"b{number}@y.example" for number in range(5)))
    settled = [each for _ in range(DEATHS) for each in await die_with(spool, "killer@")]
    assert {str(each.record.reverse_path) for each in settled} <= {"a@x.example"}
    told: list[str] = []
    consumer = take(spool)
    consumer.on_held(told.append)
    watching = asyncio.create_task(first(consumer, 10))
    async with asyncio.timeout(patient(20)):
        while [each.kind async for each in spool.waiting.list(ALL)] != [WaitKind.HELD]:
            await asyncio.sleep(0.1)
    assert await holds(spool) == [("killer@x.example", "Poison")]
    assert told == ["Poison"]
    async for event in spool.events.read(types=frozenset({EventType.HELD}), follow=True):
        assert (event.reverse_path, event.reason) == ("killer@x.example", "Poison")
        assert event.recipients == ("b@y.example",)
        assert event.process == spool.sessions.process
        break
    watching.cancel()
    await consumer.close()


async def test_mail_is_not_held_for_deaths_that_it_has_nothing_to_do_with(
    open_spool: OpenJetStream,
) -> None:
    """Twenty seconds: each death is known when a lease of 2 s has run out."""
    spool = await open_spool()
    senders = [f"a{number}@x.example" for number in range(3)]
    for sender in senders:
        await put(spool, reverse_path=parse_mailbox(sender))
    for _ in range(DEATHS + 1):
        await die_with(spool)
    assert await holds(spool) == []
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        async for leased in consumer:
            senders.remove(str(leased.record.reverse_path))
            await consumer.settle(leased)
            if not senders:
                break
    await consumer.close()


async def test_suspects_are_tried_one_at_a_time_beside_other_mail(
    open_spool: OpenJetStream,
) -> None:
    spool = await open_spool()
    await put_suspects(spool, 3)
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        [suspect] = await first(consumer, 1)
        await put(spool, "other@y.example")
        [other] = await first(consumer, 1)
        assert str(other.record.recipients[0].mailbox) == "other@y.example"
        for leased in (other, suspect):
            await consumer.settle(leased)
        for _ in range(2):
            [suspect] = await first(consumer, 1)
            await consumer.settle(suspect)
    assert [queued async for queued in spool.waiting.list(ALL)] == []
    await consumer.close()


async def test_a_suspect_that_a_stopped_process_gave_back_has_killed_nobody(
    open_spool: OpenJetStream, link: Link
) -> None:
    spool = await open_spool()
    await put_suspects(spool, 1)
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        [leased] = await first(consumer, 1)
    assert leased.deliveries == SUSPECT
    presence = Bucket(link, PRESENCE)
    [note] = (await presence.changes("suspect.*", after=0)).messages
    assert note.data == b"1"
    await consumer.stop()
    await consumer.close()
    [note, returned] = (await presence.changes("suspect.*", after=0)).messages
    assert is_deletion(note)
    assert returned.data == b"1"


async def test_what_stopped_processes_gave_back_is_no_suspect(open_spool: OpenJetStream) -> None:
    """Each restart of a deployment gives back what waits; suspects would come one by one."""
    await put(await open_spool(), *(f"b{number}@y.example" for number in range(10)))
    for _ in range(SUSPECT + 1):
        consumer = take(await open_spool())
        async with asyncio.timeout(patient(20)):
            leased = await first(consumer, 10)
        await consumer.stop()
        await consumer.close()
    assert max(each.deliveries for each in leased) > SUSPECT


async def test_a_suspect_that_lives_lets_the_next_begin(open_spool: OpenJetStream) -> None:
    """A slow host is no reason to keep all others waiting until it has answered."""
    spool = await open_spool(timings=replace(QUICK, alone=timedelta(seconds=0.2)))
    await put_suspects(spool, 3)
    consumer = take(spool)
    async with asyncio.timeout(patient(20)):
        for leased in await first(consumer, 3):
            await consumer.settle(leased)
    await consumer.close()


async def test_many_suspects_leave_room_for_other_mail_and_come_again(
    open_spool: OpenJetStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "postroad.spool.jetstream.consume.arrivals._AFTER_OTHERS", b'-NAK {"delay": 50000000}'
    )
    spool = await open_spool()
    await put_suspects(spool, 40)
    consumer = take(spool, room=4)
    async with asyncio.timeout(patient(20)):
        [suspect] = await first(consumer, 1)
        await put(spool, "other@y.example")
        [other] = await first(consumer, 1)
        assert str(other.record.recipients[0].mailbox) == "other@y.example"
        for leased in (suspect, other):
            await consumer.settle(leased)
        for _ in range(3):
            [leased] = await first(consumer, 1)
            await consumer.settle(leased)
    await consumer.close()
