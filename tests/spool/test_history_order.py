"""The history says that a record ended only after the queue has confirmed it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Deferred, LeasedRecord, Put, RecordConsumer
from postroad.spool.jetstream.cluster.event_log import JetStreamEvents
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.publish.succession import Succession
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, first, now, put, take

pytestmark = pytest.mark.nats


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what happens, in order, where the queue does not hear the first acknowledgement."""
    happened: list[str] = []
    begin = Requests.begin

    def lossy(self: Requests, subject: str, data: bytes = b"", **more: Any) -> Any:
        if data != b"+ACK":
            return begin(self, subject, data, **more)
        if not happened:
            happened.append("not heard")
            raise SpoolUnavailable("no answer")
        answer = begin(self, subject, data, **more)
        answer.add_done_callback(lambda _: happened.append("answered"))
        return answer

    async def unanswered(*_: object) -> None:
        raise SpoolUnavailable("no answer")

    monkeypatch.setattr(Requests, "begin", lossy)
    monkeypatch.setattr(Succession, "end", unanswered)
    monkeypatch.setattr(JetStreamEvents, "add", lambda *_, **__: happened.append("told"))
    return happened


def about(leased: LeasedRecord) -> Sequence[Event]:
    queue_id = leased.record.record_id.queue_id
    return [Event(type=EventType.DELIVERY, at=now(), queue_id=queue_id)]


async def finish(consumer: RecordConsumer, leased: LeasedRecord) -> None:
    ended = asyncio.Event()
    consumer.finish(leased, about(leased), ended.set)
    await ended.wait()


async def settle(consumer: RecordConsumer, leased: LeasedRecord) -> None:
    await consumer.settle(leased, (), about(leased))


async def defer(consumer: RecordConsumer, leased: LeasedRecord) -> None:
    later = Put(leased.record.next_step(), Deferred(now() + 3600 * SECOND))
    await consumer.settle(leased, [later], about(leased))


@pytest.mark.parametrize("end", [finish, settle, defer])
async def test_no_delivery_is_told_before_its_record_has_ended(
    spool: JetStreamSpool, happened: list[str], end: Any
) -> None:
    """It would be told of a record that is delivered again, after a kill between the two."""
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    async with asyncio.timeout(patient(10)):
        await end(consumer, leased)
    assert happened == ["not heard", "answered", "told"]
    await consumer.close()


async def test_nothing_is_told_of_what_the_queue_refused_to_end(
    spool: JetStreamSpool, happened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it taken for ended: it is acknowledged again."""
    happened.append("taken")
    begin = Requests.begin

    def refusing(self: Requests, subject: str, data: bytes = b"", **more: Any) -> Any:
        if data == b"+ACK" and happened == ["taken"]:
            happened.append("refused")
            subject = "$JS.ACK.nobody"  # whom nobody serves
        return begin(self, subject, data, **more)

    monkeypatch.setattr(Requests, "begin", refusing)
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    async with asyncio.timeout(patient(10)):
        await finish(consumer, leased)
    assert happened == ["taken", "refused", "answered", "answered", "told"]
    await consumer.close()
