"""Publishing mail while JetStream is full, down, or slow."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from postroad.spool.errors import PublishRefused, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.ids import new_queue_id, shard_of
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.jetstream import browse as waiting
from postroad.spool.jetstream.bodies import writer as body_writer
from postroad.spool.jetstream.consume import settle as settling
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.requests import NoResponders, PendingAnswer
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.publish.publisher import PackLine, Publisher
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import body_stream, intake_subject
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import CHUNK, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import SECOND, first, now, put, record, take

pytestmark = pytest.mark.nats

OCTETS = 100_000  # of each message that fills


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[tuple[NatsServer, JetStreamSpool]]:
    """A server with room for little mail."""
    async with NatsServer(tmp_path, max_file_store="4MB") as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE, capacity=4_000_000)
        spool = await connect(options)
        yield server, spool
        await spool.close()


async def fill(spool: JetStreamSpool) -> int:
    """Put mail until the queue is full, and return how much of it went in."""
    for accepted in range(200):
        try:
            await put(spool, content=b"x" * OCTETS)
        except SpoolFull:
            return accepted
    raise AssertionError("there is room without end")


async def test_a_full_queue_says_so_and_settling_goes_on(
    small: tuple[NatsServer, JetStreamSpool],
) -> None:
    _, spool = small
    accepted = 0
    accepted = await fill(spool)
    assert accepted > 5
    consumer = take(spool)
    leased = await first(consumer, accepted)
    async with asyncio.timeout(patient(20)):
        await asyncio.gather(*(consumer.settle(one) for one in leased))
        while not spool.accepting:
            await asyncio.sleep(0.1)
    await put(spool)
    await consumer.close()


async def test_what_only_waits_for_room_keeps_nothing_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_FIRST_RETURN", 1.0)
    async with NatsServer(tmp_path, max_file_store="4MB") as server:
        options = SpoolOptions(servers=(server.url,))
        # It is said that there is far more room than there is, so nothing is refused in time.
        await provision(options, layout=SINGLE_MACHINE, capacity=20_000_000)
        spool = await connect(options)
        accepted = await fill(spool)
        consumer = take(spool)
        leased = await first(consumer, accepted)
        later = Deferred(now() + timedelta(hours=1))
        async with asyncio.timeout(patient(50)):
            for one in leased:
                await consumer.settle(one, [Put(one.record.next_step(), later)])
            for one in await first(consumer, accepted):  # as they were, and nothing was lost
                assert one.record.step == 0
                await consumer.settle(one)
        await put(spool)
        await consumer.close()
        await spool.close()


async def test_the_queue_is_near_full_before_it_is_full(server: NatsServer) -> None:
    options = SpoolOptions(servers=(server.url,))
    await provision(options, layout=SINGLE_MACHINE, capacity=1000)
    spool = await connect(options)
    try:
        await put(spool, content=b"x" * 5000)
        async with asyncio.timeout(patient(10)):
            while spool.accepting:
                await asyncio.sleep(0.1)
        assert isinstance(spool.refusal(), SpoolFull)
        with pytest.raises(SpoolFull):
            await put(spool)
    finally:
        await spool.close()


class Answers:
    """Requests over a connection that is there, answered in turn: with a text, or an error."""

    def __init__(self, *answers: bytes | SpoolError) -> None:
        self.client = self
        self.max_payload = 1_000_000
        self._answers = list(answers)

    def begin(self, subject: str, payload: bytes = b"", **_: object) -> PendingAnswer:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        future: PendingAnswer = asyncio.get_running_loop().create_future()
        if isinstance(answer, SpoolError):
            future.set_exception(answer)
        else:
            future.set_result(Incoming(subject, "", b"", answer))
        return future


FULL = b'{"error":{"err_code":10047,"description":"insufficient storage"}}'


@pytest.mark.parametrize(
    ("answers", "means"),
    [
        ([FULL], SpoolFull),
        ([NoResponders("nobody")], PublishRefused),
        ([SpoolUnavailable("no answer"), FULL], SpoolUnavailable),
        ([SpoolUnavailable("no answer"), NoResponders("nobody")], SpoolUnavailable),
    ],
)
async def test_nothing_is_said_to_be_refused_that_an_earlier_try_may_have_stored(
    answers: list[bytes | SpoolError], means: type[SpoolError]
) -> None:
    link = cast(Any, Answers(*answers))
    publisher = Publisher(link, link, SINGLE_MACHINE)
    mail = Put(record(new_queue_id(now(), 0)), Ready())
    with pytest.raises(SpoolError) as raised:
        await publisher.accept([mail], shard=0, timeout=timedelta(milliseconds=200))
    assert type(raised.value) is means


async def test_what_an_earlier_try_has_stored_is_recognised_when_there_is_no_room() -> None:
    stored = b'{"stream":"POSTROAD_Q_0","seq":7,"duplicate":true}'
    link = cast(Any, Answers(SpoolUnavailable("no answer"), FULL, stored))
    publisher = Publisher(link, link, SINGLE_MACHINE)
    mail = Put(record(new_queue_id(now(), 0)), Ready())
    assert await publisher.accept([mail], shard=0, timeout=timedelta(seconds=20)) == 7


async def test_without_a_server_mail_is_refused_in_time_and_taken_again_later(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    server.kill()
    queue_id = spool.new_queue_id(now())

    def compose(chosen: str) -> list[Put]:
        return [Put(record(chosen), Ready())]

    with pytest.raises(SpoolUnavailable):
        await spool.accept(queue_id, compose, timeout=1.5 * SECOND)
    await server.start()
    stored = await spool.accept(queue_id, compose, timeout=10 * SECOND)
    assert stored.sequence > 0


async def test_a_short_outage_is_waited_out(spool: JetStreamSpool, server: NatsServer) -> None:
    sending = [asyncio.create_task(put(spool, f"b{n}@y.example")) for n in range(50)]
    await server.restart()
    await asyncio.gather(*sending)
    found = [queued async for queued in spool.waiting.list(Selection())]
    assert len(found) == 50
    assert len({str(queued.record.record_id) for queued in found}) == 50


async def test_an_unanswered_publish_is_stored_once(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    server.freeze()
    sending = asyncio.create_task(put(spool))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(4, server.thaw)  # after the first try has timed out
    await sending
    assert len([queued async for queued in spool.waiting.list(Selection())]) == 1


async def test_deferred_mail_leaves_its_body_in_the_blob_store(spool: JetStreamSpool) -> None:
    content = b"Subject: hi\r\n\r\n" + b"y" * 60_000
    await put(spool, content=content)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    due = Deferred(now() + timedelta(seconds=1))
    await consumer.settle(leased, [Put(leased.record.next_step(), due)])
    [again] = await first(consumer, 1)
    assert not isinstance(again.record.content, bytes)
    assert again.record.header == b"Subject: hi\r\n"
    assert b"".join([chunk async for chunk in spool.read_body(again.record)]) == content
    await consumer.settle(again)
    await consumer.close()


async def test_nothing_stays_of_a_body_that_was_given_up(
    spool: JetStreamSpool, open_link: Callable[[], Awaitable[Link]]
) -> None:
    link = await open_link()
    writer = spool.write_body(lifetime=timedelta(days=5))
    for _ in range(4):
        await writer.write(b"x" * 600_000)
    await writer.abort()
    async with asyncio.timeout(patient(10)):
        while await blob_octets(link, spool) > 1000:
            await asyncio.sleep(0.1)


async def blob_octets(link: Link, spool: JetStreamSpool) -> int:
    shards = range(spool.layout.shards)
    return sum([(await link.jetstream.stream_info(body_stream(k))).state.bytes for k in shards])


async def test_a_schedule_that_came_due_while_full_fires_after_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "OVERDUE", timedelta(0))
    async with NatsServer(tmp_path, max_file_store="4MB") as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE, capacity=20_000_000)
        spool = await connect(options)
        began, due = now(), now() + 8 * SECOND
        late_content = b"x" * 2 * OCTETS  # more than what is left when no other goes in
        await put(spool, "late@z.example", place=Deferred(due), content=late_content)
        accepted = await fill(spool)
        await asyncio.sleep((due - now()).total_seconds() + 2)  # it comes due without room to fire
        consumer = take(spool)
        async with asyncio.timeout(patient(30)):
            for one in await first(consumer, accepted):
                await consumer.settle(one)
            [kind] = [queued.kind async for queued in spool.waiting.list(Selection())]
            assert kind is WaitKind.DEFERRED
            lanes = {f"p{number:02d}" for number in range(8)}
            renewed = await spool.waiting.renew_overdue(lanes, began, now, pause=SECOND)
            assert renewed == 1
            [late] = await first(consumer, 1)
            assert late.record.domain == "z.example"
            await consumer.settle(late)
        await consumer.close()
        await spool.close()


async def test_chunks_are_smaller_while_many_bodies_are_written(spool: JetStreamSpool) -> None:
    """So what waits in memory for the rest of its chunk does not grow with their number."""
    written = 300_000
    writers = [spool.write_body(lifetime=timedelta(days=5)) for _ in range(32)]
    for writer in writers:
        await writer.write(b"x" * written)
    bodies = [await writer.finish(destinations=1) for writer in writers]
    assert bodies[0].chunks == -(-written // (8 * CHUNK // len(writers)))
    alone = spool.write_body(lifetime=timedelta(days=5))
    await alone.write(b"x" * written)
    assert (await alone.finish(destinations=1)).chunks == 1
    again = record(spool.new_queue_id(now()), content=bodies[-1])
    assert b"".join([chunk async for chunk in spool.read_body(again)]) == b"x" * written


async def test_a_body_is_not_whole_when_a_chunk_has_failed_in_a_way_nobody_planned(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(body_writer, "check_ack", broken)
    writer = spool.write_body(lifetime=timedelta(days=5))
    await writer.write(b"x" * OCTETS)
    with pytest.raises(SpoolUnavailable):
        await writer.finish(destinations=1)


async def test_what_may_be_stored_is_not_stored_again_under_another_id(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told to come again; of two copies only it can say that they are one."""
    tried: list[str] = []

    async def unanswered(
        _: Publisher, __: PackLine, records: Sequence[tuple[QueueRecord, bytes]], **___: object
    ) -> int:
        tried.append(records[0][0].record_id.queue_id)
        raise SpoolUnavailable("no answer")

    monkeypatch.setattr(Publisher, "accept_pack", unanswered)
    with pytest.raises(SpoolUnavailable):
        await put(spool)
    assert len(tried) == 1


async def test_mail_to_several_domains_goes_to_another_shard_if_one_has_too_many_batches(
    spool: JetStreamSpool, link: Link
) -> None:
    """A stream takes 50 unfinished batches at once, and forgets each after ten seconds."""
    queue_id = new_queue_id(now(), 1)
    intake = intake_subject(1, record(queue_id), spool.lane_of(record(queue_id)))
    for number in range(50):
        headers = {"Nats-Batch-Id": f"b{number}", "Nats-Batch-Sequence": "1"}
        await link.client.request(intake, encode(record(queue_id)), headers=headers, timeout=5)

    def compose(queue_id: str) -> list[Put]:
        domains = enumerate(("y.example", "z.example"))
        return [Put(record(queue_id, f"b@{domain}", n), Ready()) for n, domain in domains]

    stored = await spool.accept(queue_id, compose, timeout=4 * SECOND)
    assert shard_of(stored.queue_id) != 1
