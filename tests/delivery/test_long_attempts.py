"""Mail to many recipients that takes long: results are stored before the rest is tried."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from postroad.delivery.outcome import OutcomeKind
from postroad.mail.address import parse_mailbox
from postroad.policy.model import Rate, SiteLimits
from postroad.spool.event import Event, EventType
from postroad.spool.memory.consumer import MemoryConsumer
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.memory.store import ACK_WAIT, MemoryStore
from postroad.spool.record import QueuedRecipient, QueueRecord, RecipientState
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.attempts import Bench
from postroad.testing.processes.delivery import delivering, history, publish, send, to_smarthost
from postroad.testing.queue.queued_mail import now

AT_ONCE = timedelta(0)
FIVE = ("PIPELINING", "LIMITS RCPTMAX=5")
ADDRESSES = [f"r{number}@y.example" for number in range(15)]
FIFTEEN = tuple(QueuedRecipient(parse_mailbox(address)) for address in ADDRESSES)


def named(lines: Iterable[bytes]) -> Counter[str]:
    """Return how often each recipient was named by RCPT."""
    return Counter(line[9:-1].decode() for line in lines if line.startswith(b"RCPT TO:<"))


def told(events: list[Event]) -> list[str]:
    return sorted(address for event in events for address in event.recipients)


async def stored(spool: MemorySpool) -> tuple[WaitKind, QueueRecord]:
    [queued] = [each async for each in spool.waiting.list(Selection())]
    return queued.kind, queued.record


async def test_another_process_goes_on_where_a_killed_one_was() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return SILENCE if line == b"DATA" and count == 2 else None

    ahead = timedelta(0)
    cluster = MemoryCluster(MemoryStore(clock=lambda: now() + ahead))
    spool, other = MemorySpool(cluster), MemorySpool(cluster)
    async with ScriptedMx(script, extensions=FIVE) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool, long_enough=AT_ONCE, finish=0.1) as (_, consumer):
            await send(spool, ADDRESSES[0], recipients=FIFTEEN)
            async with asyncio.timeout(patient(5)):
                while mx.commands.count(b"DATA") < 3:
                    await asyncio.sleep(0)
            assert isinstance(consumer, MemoryConsumer)
            consumer.kill()
            async with delivering(other, long_enough=AT_ONCE):
                ahead = ACK_WAIT
                cluster.store.tick()
                await asyncio.wait_for(mx.received(3), patient(5))
        leased = Counter(line for message in mx.messages for line in message.recipients)
        assert named(leased.elements()) == Counter(ADDRESSES), "nobody twice, nobody missing"
        assert cluster.store.records == {}


async def test_each_outcome_is_told_once_and_each_recipient_tried_once() -> None:
    refused, put_off = {b"<r1@", b"<r11@"}, b"<r2@"

    def script(line: bytes, count: int) -> bytes | None:
        if any(name in line for name in refused):
            return b"550 5.1.1 no such user\r\n"
        return b"451 4.2.1 busy\r\n" if put_off in line else None

    spool = MemorySpool()
    async with ScriptedMx(script, extensions=FIVE) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool, long_enough=AT_ONCE):
            await send(spool, ADDRESSES[0], recipients=FIFTEEN)
            delivered = await history(spool, EventType.DELIVERY, 5)  # three, and two reports
            failed = await history(spool, EventType.BOUNCE, 2)
            [deferral] = await history(spool, EventType.TRANSIENT_FAILURE, 1)
        kind, record = await stored(spool)
    fine = [address for address in ADDRESSES if address.split("@")[0] not in ("r1", "r2", "r11")]
    assert told(delivered) == sorted([*fine, "a@x.example", "a@x.example"])
    assert told(failed) == ["r11@y.example", "r1@y.example"]
    assert deferral.recipients == ("r2@y.example",)
    assert {event.attempt for event in (*delivered, *failed, deferral)} == {1}
    tried = named(mx.commands)
    assert {address: tried[address] for address in ADDRESSES} == dict.fromkeys(ADDRESSES, 1)
    reports = [message.content for message in mx.messages if b"<>" in message.mail]
    assert [report.count(b"Final-Recipient") for report in reports] == [1, 1]
    assert (kind, record.attempts) == (WaitKind.DEFERRED, 1), "one attempt, by its schedule"
    assert [str(each.mailbox) for each in record.pending] == ["r2@y.example"]


async def test_the_next_attempt_is_at_all_that_are_left() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        busy = line.startswith(b"RCPT") and count in (1, 14)
        return b"451 4.2.1 busy\r\n" if busy else None

    ahead = timedelta(0)
    spool = MemorySpool(MemoryCluster(MemoryStore(clock=lambda: now() + ahead)))
    async with ScriptedMx(script, extensions=FIVE) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool, long_enough=AT_ONCE):
            await send(spool, ADDRESSES[0], recipients=FIFTEEN)
            await history(spool, EventType.TRANSIENT_FAILURE, 2)
            async with asyncio.timeout(patient(5)):
                while (await stored(spool))[0] is not WaitKind.DEFERRED:
                    await asyncio.sleep(0)
            ahead = timedelta(hours=2)
            spool.store.tick()
            [*_, last] = await history(spool, EventType.DELIVERY, 4)
    assert (last.recipients, last.attempt) == (("r1@y.example", "r14@y.example"), 2)
    assert spool.store.records == {}


async def test_others_have_their_turn_between_two_transactions() -> None:
    spool = MemorySpool()
    async with ScriptedMx(extensions=FIVE) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, ADDRESSES[0], recipients=FIFTEEN)
        await send(spool, "b@y.example")
        async with delivering(spool, long_enough=AT_ONCE):
            messages = await asyncio.wait_for(mx.received(4), patient(5))
        assert [len(message.recipients) for message in messages] == [5, 1, 5, 5]
        assert mx.connections == 1, "the session is gone on with"


async def test_a_message_counts_once_against_a_rate() -> None:
    spool = MemorySpool()
    async with ScriptedMx(extensions=FIVE) as mx:
        limits = SiteLimits(message_rate=Rate(1, timedelta(hours=1)))
        await publish(spool, anywhere=replace(to_smarthost(mx), limits=limits))
        async with delivering(spool, long_enough=AT_ONCE):
            await send(spool, ADDRESSES[0], recipients=FIFTEEN)
            await asyncio.wait_for(mx.received(3), patient(5))
    assert spool.store.records == {}


async def test_a_body_of_its_own_is_there_to_the_end_and_no_longer() -> None:
    spool = MemorySpool()
    writer = spool.write_body(lifetime=timedelta(hours=1))
    await writer.write(b"Subject: hi\r\n\r\nbody\r\n")
    body = await writer.finish(destinations=1)
    async with ScriptedMx(extensions=FIVE) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool, long_enough=AT_ONCE):
            await send(spool, ADDRESSES[0], recipients=FIFTEEN, content=body)
            await history(spool, EventType.DELIVERY, 3)
        assert {message.content for message in mx.messages} == {b"Subject: hi\r\n\r\nbody\r\n"}
    assert spool.store.bodies == {}


async def test_another_host_is_tried_before_the_others_wait() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"451 4.2.1 busy\r\n" if line == b"RCPT TO:<r1@y.example>" else None

    async with ScriptedMx(script, extensions=FIVE) as first, ScriptedMx() as second:
        ended = await Bench(long_enough=AT_ONCE).attempt(first, second, recipients=FIFTEEN)
    assert {number: outcome.host for number, outcome in ended.outcomes.items()} == (
        {0: "mx0", 1: "mx1", 2: "mx0", 3: "mx0", 4: "mx0"}
    )
    assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
    assert ended.resume_from == 5


async def test_sessions_of_one_message_each_are_no_way_around_it() -> None:
    async with ScriptedMx(extensions=FIVE) as mx:
        bench = Bench(long_enough=AT_ONCE, messages_per_connection=1)
        ended = await bench.attempt(mx, recipients=FIFTEEN)
        assert len(mx.messages) == 1
    assert (len(ended.outcomes), ended.resume_from) == (5, 5)


async def test_an_attempt_that_goes_on_comes_to_one_recipient_more_each_time() -> None:
    """Else one that is refused for being too many would be tried at once for ever."""

    def script(line: bytes, count: int) -> bytes | None:
        return b"452 4.5.3 too many\r\n" if line == b"RCPT TO:<r0@y.example>" else None

    async with ScriptedMx(script) as mx:
        ended = await Bench(long_enough=AT_ONCE).attempt(mx, recipients=FIFTEEN[:3])
    assert ended.resume_from == 0
    kinds = [ended.outcomes[number].kind for number in range(3)]
    assert kinds == [OutcomeKind.DEFERRED, OutcomeKind.DELIVERED, OutcomeKind.DELIVERED]


async def test_what_a_release_before_has_tried_is_tried_all_the_same() -> None:
    async with ScriptedMx() as mx:
        done = [
            QueuedRecipient(each.mailbox, state=RecipientState.DELIVERED) for each in FIFTEEN[1:]
        ]
        ended = await Bench().attempt(mx, recipients=(FIFTEEN[0], *done), resume_from=5)
    assert [outcome.kind for outcome in ended.outcomes.values()] == [OutcomeKind.DELIVERED]
