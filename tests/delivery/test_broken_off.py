"""Attempts that break off, and bodies that are missing: who has got the mail gets it once."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from postroad.mail.address import parse_mailbox
from postroad.spool.errors import BodyMissing, SpoolUnavailable
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import BlobRef, QueuedRecipient, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad.testing.queue.queued_mail import now
from postroad_harness.setups.delivery.worker import to_smarthost, waiting


async def test_a_body_that_cannot_be_read_now_is_read_again_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The queue's own trouble is no attempt: the mail does not wait for its retry schedule."""

    async def no_answer(_: MemorySpool, __: object) -> AsyncIterator[bytes]:
        for chunk in tuple[bytes, ...]():
            yield chunk
        raise SpoolUnavailable("it does not answer")

    monkeypatch.setattr(MemorySpool, "read_body", no_answer)
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(
                spool, "b@y.example", content=BlobRef(0, "there", 1, 10, b"", destinations=1)
            )
            async with asyncio.timeout(patient(10)):
                while await waiting(spool) != [WaitKind.DEFERRED]:
                    await asyncio.sleep(0.01)
    [queued] = [each async for each in spool.waiting.list(Selection())]
    assert queued.record.attempts == 0
    assert queued.due is not None
    assert queued.due - now() < timedelta(seconds=31)
    last = queued.record.recipients[0].last
    assert last is not None
    assert "the body cannot be read now: it does not answer" in last.text


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SpoolUnavailable, WaitKind.DEFERRED),
        (BodyMissing, WaitKind.HELD),
        (OSError, WaitKind.DEFERRED),
    ],
)
async def test_who_has_got_the_mail_is_not_sent_it_again_when_the_rest_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], kind: WaitKind
) -> None:
    """The host takes two recipients a message, and the body is read for each message."""
    reads = itertools.count()

    async def once(_: MemorySpool, __: object) -> AsyncIterator[bytes]:
        if next(reads):
            raise error("it does not answer")
        yield b"Subject: hi\r\n\r\nhello\r\n"

    def script(line: bytes, count: int) -> bytes | None:
        return b"550 5.1.1 nobody\r\n" if b"<b@" in line else None

    monkeypatch.setattr(MemorySpool, "read_body", once)
    spool = MemorySpool()
    recipients = tuple(QueuedRecipient(parse_mailbox(f"{n}@y.example")) for n in "abcd")
    body = BlobRef(0, "there", 1, 10, b"", destinations=1)
    async with ScriptedMx(script, extensions=("PIPELINING", "LIMITS RCPTMAX=2")) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "a@y.example", recipients=recipients, content=body)
            [delivery] = await history(spool, EventType.DELIVERY)
            [bounce] = await history(spool, EventType.BOUNCE)
            async with asyncio.timeout(patient(10)):
                while await waiting(spool) != [kind]:
                    await asyncio.sleep(0.01)
    sent = [message.recipients for message in mx.messages]
    assert [b"<a@x.example>" in line[0] for line in sent] == [False, True], "its sender is told"
    assert (delivery.recipients, bounce.recipients) == (("a@y.example",), ("b@y.example",))
    [left] = [queued async for queued in spool.waiting.list(Selection())]
    assert [str(each.mailbox) for each in left.record.pending] == ["c@y.example", "d@y.example"]


async def test_who_has_got_the_mail_is_not_sent_it_again_when_the_process_has_to_end() -> None:
    """The host takes two recipients a message, and is silent at the second message's end."""
    cut_off = asyncio.Event()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"." and count:
            cut_off.set()
            return SILENCE
        return None

    spool = MemorySpool()
    recipients = tuple(QueuedRecipient(parse_mailbox(f"{n}@y.example")) for n in "abcd")
    async with ScriptedMx(script, extensions=("PIPELINING", "LIMITS RCPTMAX=2")) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool, finish=0.0):
            await send(spool, "a@y.example", recipients=recipients)
            await asyncio.wait_for(cut_off.wait(), patient(10))
    [left] = [queued async for queued in spool.waiting.list(Selection())]
    assert [str(each.mailbox) for each in left.record.pending] == ["c@y.example", "d@y.example"]
    [delivery] = await history(spool, EventType.DELIVERY)
    assert delivery.recipients == ("a@y.example", "b@y.example")


async def test_a_missing_body_holds_the_record_for_a_person() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example", content=BlobRef(0, "gone", 1, 10, b"", destinations=1))
            [event] = await history(spool, EventType.HELD)
            assert event.reason == "BodyMissing"
        assert await waiting(spool) == [WaitKind.HELD]
        assert mx.messages == []


async def test_what_was_sent_is_not_sent_again_because_the_queue_was_away() -> None:
    spool = MemorySpool()

    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"RCPT"):
            spool.store.available = False
        return b"451 4.7.1 later\r\n" if b"<c@y.example>" in line else None

    recipients = tuple(QueuedRecipient(parse_mailbox(f"{n}@y.example")) for n in "bc")
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example", recipients=recipients)
            await asyncio.wait_for(mx.received(1), patient(5))
            assert await waiting(spool) == [WaitKind.READY], "it is still in hand"
            spool.store.available = True
            await history(spool, EventType.DELIVERY)
        assert await waiting(spool) == [WaitKind.DEFERRED]
        assert len(mx.messages) == 1


async def test_mail_that_another_process_has_ended_is_not_held_for_its_missing_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That process was paused for longer than its lease, and deleted the body when it went on."""
    spool = MemorySpool()

    async def deleted(_: MemorySpool, record: QueueRecord) -> AsyncIterator[bytes]:
        [key] = spool.store.records
        if spool.store.records[key].record.record_id != record.record_id:
            yield b""
        spool.store.remove(key)
        raise BodyMissing("it was deleted")

    monkeypatch.setattr(MemorySpool, "read_body", deleted)
    body = BlobRef(0, "gone", 1, 10, b"", destinations=1)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        with capture_logs() as lines:
            async with delivering(spool):
                await send(spool, "b@y.example", content=body)
                async with asyncio.timeout(patient(10)):
                    while "a record was dropped" not in [line["event"] for line in lines]:
                        await asyncio.sleep(0.01)
    assert await waiting(spool) == []
    assert not [line for line in lines if line["event"] == "a record is held"]
