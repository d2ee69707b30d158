"""Records that the server refuses as too large: stored in a shorter form, or returned."""

import asyncio
import itertools
import json
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from postroad.spool.errors import RecordTooLarge
from postroad.spool.interface import Deferred, Put, Queued, Ready
from postroad.spool.jetstream.consume import settle as settling
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import LastReply, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, first, now, put, record, take

pytestmark = pytest.mark.nats


class PlainLink(Protocol):
    client: Client


TOO_MUCH = 3_000_000  # octets
LATER = Deferred(now() + timedelta(hours=1))


def deferred(leased: QueueRecord) -> QueueRecord:
    """Return a record as it goes on after a reply that is too long."""
    last = LastReply("450 4.2.1 " + "x" * TOO_MUCH, now(), "4.2.1", "mx.y.example", "RCPT")
    [recipient] = leased.recipients
    return leased.next_step(recipients=(replace(recipient, last=last),))


async def found(spool: JetStreamSpool) -> list[Queued]:
    return [queued async for queued in spool.waiting.list(Selection())]


async def test_new_mail_that_is_too_large_is_refused_once_and_the_connection_stays(
    spool: JetStreamSpool,
) -> None:
    queue_id = spool.new_queue_id(now())
    large = record(queue_id, content=b"x" * TOO_MUCH)
    with pytest.raises(RecordTooLarge):
        await spool.accept(queue_id, lambda _: [Put(large, Ready())], timeout=SECOND)
    await put(spool)


async def test_what_follows_of_a_record_is_stored_without_its_replies(
    spool: JetStreamSpool,
) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    with capture_logs() as lines:
        async with asyncio.timeout(patient(5)):
            assert await consumer.settle(leased, [Put(deferred(leased.record), LATER)])
    [queued] = await found(spool)
    assert queued.kind is WaitKind.DEFERRED
    [recipient] = queued.record.recipients
    assert recipient.last is not None
    assert (recipient.last.status, recipient.last.host) == ("4.2.1", "")
    assert recipient.last.text == "the reply was too long to be kept"
    assert [line["record_id"] for line in lines] == [str(leased.record.record_id)], "said once"
    await consumer.close()


async def test_a_large_notification_leaves_its_body_in_the_blob_store(
    spool: JetStreamSpool,
) -> None:
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    content = b"Subject: Undelivered\r\n\r\n" + b"x" * TOO_MUCH
    notification = record(leased.record.record_id.queue_id, number=1, content=content)
    async with asyncio.timeout(patient(10)):
        await consumer.settle(leased, [Put(notification, Ready())])
        [report] = await first(consumer, 1)
        assert b"".join([chunk async for chunk in spool.read_body(report.record)]) == content
        await consumer.settle(report)
    assert await found(spool) == []
    await consumer.close()


async def test_what_nothing_makes_shorter_goes_back_as_it_was(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_FIRST_RETURN", 1.0)
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    async with asyncio.timeout(patient(10)):
        too_large = leased.record.next_step(unknown=b"x" * TOO_MUCH)
        assert not await consumer.settle(leased, [Put(too_large, LATER)])
        [again] = await first(consumer, 1)
    assert again.record == leased.record
    assert await consumer.settle(again)
    await consumer.close()


async def test_what_goes_back_again_and_again_comes_ever_more_seldom(
    spool: JetStreamSpool, link: PlainLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed back is counted as handed out, and may be taken for what kills processes."""
    monkeypatch.setattr(settling, "_FIRST_RETURN", 0.2)
    heard = await link.client.subscribe("$JS.ACK.>")
    await put(spool)
    consumer, delays = take(spool), list[int]()
    async with asyncio.timeout(patient(20)):
        for _ in range(3):
            [leased] = await first(consumer, 1)
            too_large = leased.record.next_step(unknown=b"x" * TOO_MUCH)
            await consumer.settle(leased, [Put(too_large, LATER)])
            delays += [json.loads((await heard.next_msg()).data.removeprefix(b"-NAK "))["delay"]]
    assert all(sooner < later for sooner, later in itertools.pairwise(delays)), delays
    await consumer.close()
