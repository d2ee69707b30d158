"""
New mail that no consumer takes: most of it is not stored, and the rest is held as unreadable.

Who accepts mail chooses the subject. What nobody takes could not be removed, and filled the storage
for good.
"""

import asyncio

import nats.errors
import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role
from postroad.testing.queue.queued_mail import QUICK, first, now, put, record, take
from postroad.testing.queue.walls import SHARDS, Servers

pytestmark = pytest.mark.nats

LAYOUT = Layout(shards=SHARDS, lanes=2, replicas=1)
WELL = encode(record(new_queue_id(now(), 0), "well@y.example"))
NOBODYS = [
    "pr.i.0.r.default.x.p77.y_example",
    "pr.i.0.r.default.zzz.p00.y_example",
    "pr.i.1.h.default.b.p2.y_example",
    "pr.i.1.r.gone.x.*.y_example",
    "pr.i.1.r.gone.>.p00.y_example",
]


async def publish(servers: Servers, subject: str, payload: bytes = WELL) -> None:
    """Store new mail, as somebody with the password of ingress."""
    answer = await servers.clients["ingress"].request(subject, payload, timeout=patient(5))
    assert b"error" not in answer.data


async def admit_anything(servers: Servers) -> None:
    """Let the intake store whatever an earlier build stored."""
    api = servers.clients["operator"].jetstream(prefix=API_PREFIX)
    for shard in range(SHARDS):
        config = (await api.stream_info(f"POSTROAD_I_{shard}")).config
        await api.update_stream(config.evolve(subjects=[f"pr.i.{shard}.>"]))


async def until_held(spool: JetStreamSpool, number: int) -> None:
    """Wait until so much mail is held as unreadable, and there is no other."""
    async with asyncio.timeout(patient(20)):
        while True:
            found = [each async for each in spool.waiting.list(Selection())]
            if [each.kind for each in found] == [WaitKind.HELD] * number:
                break
            await asyncio.sleep(0.05)
    assert {each.record.hold.reason for each in found if each.record.hold} == {"Unreadable"}
    assert {each.record.content for each in found} == {WELL}


@pytest.mark.parametrize("subject", NOBODYS)
async def test_what_no_lane_or_class_has_is_not_stored(servers: Servers, subject: str) -> None:
    with pytest.raises(nats.errors.NoRespondersError):
        await publish(servers, subject)


async def test_what_an_earlier_build_stored_is_held_and_may_be_deleted(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    await admit_anything(servers)
    for subject in NOBODYS:
        await publish(servers, subject)
    await provision(as_role("operator", servers.servers[0].url), layout=LAYOUT)
    consumer = take(delivery)
    taking = asyncio.ensure_future(first(consumer, 1))
    await until_held(delivery, len(NOBODYS))
    kept = [key for key, (subject, _) in (await servers.stored()).items() if "pr.i." in subject]
    assert kept == []
    assert not taking.done()
    taking.cancel()
    await consumer.close()


async def test_mail_in_the_intake_outlives_the_change_of_its_subjects(
    servers: Servers, delivery: JetStreamSpool
) -> None:
    await admit_anything(servers)
    ingress = await connect(as_role("ingress", servers.servers[0].url, timings=QUICK))
    queue_ids = {await put(ingress, f"b@d{number}.example") for number in range(6)}
    await provision(as_role("operator", servers.servers[0].url), layout=LAYOUT)
    consumer = take(delivery)
    taken = await first(consumer, 6)
    assert {each.record.record_id.queue_id for each in taken} == queue_ids
    for each in taken:
        await consumer.settle(each)
    await consumer.close()
    await ingress.close()
