"""A body costs as much to delete as there is of it, whatever a record says of its chunks."""

import asyncio

import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.consume.poison.suspects import is_unreadable, record_of
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import chunk_subject, intake_subject
from postroad.spool.record import BlobRef
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import first, now, record, take
from postroad.testing.queue.walls import Servers
from postroad_harness.setups.spool.odd import delivered


async def end_one_with(servers: Servers, delivery: JetStreamSpool, body: BlobRef) -> None:
    """Store new mail with this body, as somebody with the password of ingress, and end it."""
    mail = record(new_queue_id(now(), 0), content=body)
    subject = intake_subject(0, mail, delivery.lane_of(mail))
    await servers.clients["ingress"].request(subject, encode(mail), timeout=patient(5))
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    async with asyncio.timeout(patient(5)):
        await consumer.settle(leased)
    await consumer.close()


async def bodies(servers: Servers) -> dict[str, bytes]:
    """Return what is stored of bodies in shard 0: subjects and contents."""
    stored = (await servers.stored()).items()
    return {subject: data for (stream, _), (subject, data) in stored if stream == "POSTROAD_BODY_0"}


@pytest.mark.nats
async def test_chunks_that_are_not_there_are_not_deleted(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    """For 300 octets of new mail delivery stored 65,536 messages, each with its own subject."""
    await end_one_with(servers, delivery, BlobRef(0, "claimed", 65_536, 2**35, b"", 1))
    assert set(await bodies(servers)) <= {chunk_subject(0, "claimed", None)}


@pytest.mark.nats
async def test_a_body_of_many_chunks_is_deleted_as_a_whole(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    subjects = [chunk_subject(0, "large", number) for number in (*range(39), None)]
    other = chunk_subject(0, "larger", None)
    for subject in (*subjects, other):
        await servers.clients["ingress"].request(subject, b"x", timeout=patient(5))
    await end_one_with(servers, delivery, BlobRef(0, "large", 40, 40, b"", 1))
    left = await bodies(servers)
    assert left == dict.fromkeys(subjects, b"") | {other: b"x"}


def test_a_body_of_more_destinations_than_a_message_has_is_unreadable() -> None:
    """Each destination is a bit in memory, until the body is deleted."""
    mail = record(new_queue_id(now(), 0), content=BlobRef(0, "b", 1, 9, b"", 5_001))
    assert is_unreadable(record_of(delivered(intake_subject(0, mail, "p00"), encode(mail))))
