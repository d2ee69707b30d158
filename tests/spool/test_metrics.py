"""The metrics about the queue that a process shows at /metrics."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from postroad.spool.event import Event, EventType
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.telemetry.metrics import exposition
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import first, put, take

pytestmark = pytest.mark.nats

OpenSpool = Callable[..., Awaitable[JetStreamSpool]]


def shown(name: str) -> float:
    """Return a series without labels, or a bucket, as the page has it now."""
    found = re.search(rf"^postroad_queue_{re.escape(name)} (\S+)$", exposition(), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def until_more(name: str, than: float) -> None:
    async with asyncio.timeout(patient(20)):
        while shown(name) <= than:
            await asyncio.sleep(0.05)


async def test_what_is_stored_is_timed_and_counted(spool: JetStreamSpool) -> None:
    names = ("publish_seconds_count", "publish_records_sum", 'publish_records_bucket{le="2.0"}')
    stored, records, small = map(shown, names)
    took = shown("publish_seconds_sum")
    await put(spool)
    await put(spool, "b@y.example", "b@z.example", "c@z.example")
    assert tuple(map(shown, names)) == (stored + 2, records + 4, small + 1)
    assert took < shown("publish_seconds_sum") < took + patient(20)


async def test_what_comes_again_is_counted(spool: JetStreamSpool) -> None:
    before = shown("redeliveries_total")
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    assert shown("redeliveries_total") == before
    await consumer.give_back(leased)
    [leased] = await first(consumer, 1)
    assert shown("redeliveries_total") == before + 1
    await consumer.settle(leased)
    await consumer.close()


async def test_a_lease_that_ran_out_is_counted_once(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    """Takes 5 s: the lease has to run out, and the record to come again."""
    before = shown("leases_expired_total")
    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    server.freeze()
    try:
        await until_more("leases_expired_total", before)
    finally:
        server.thaw()
    async with asyncio.timeout(patient(20)):
        while not await consumer.confirm(leased):
            await asyncio.sleep(0.05)
    assert shown("leases_expired_total") == before + 1
    await consumer.settle(leased)
    await consumer.close()


@pytest.mark.usefixtures("operator")
async def test_a_session_that_the_servers_forgot_is_counted(
    spool: JetStreamSpool, server: NatsServer
) -> None:
    before = shown("sessions_lost_total")
    assert spool.sessions.alive()
    await server.restart()
    await until_more("sessions_lost_total", before + 1)  # the operator's, and its own


async def test_events_that_are_not_written_are_counted(
    open_spool: OpenSpool, server: NatsServer
) -> None:
    """Takes 3 s, which closing waits for the queue."""
    before = shown("events_dropped_total")
    spool = await open_spool()
    server.freeze()
    try:
        for _ in range(7):
            spool.events.add(Event(type=EventType.REJECTION, at=datetime.now(UTC)))
        await spool.events.close()
        assert shown("events_dropped_total") == before + 7
    finally:
        server.thaw()


async def test_room_for_new_mail_is_shown(server: NatsServer) -> None:
    options = SpoolOptions(servers=(server.url,))
    await provision(options, layout=SINGLE_MACHINE, capacity=1_000_000)
    spool = await connect(options)
    try:
        async with asyncio.timeout(patient(20)):
            while not 0 < shown("room_bytes") <= 800_000:
                await asyncio.sleep(0.05)
    finally:
        await spool.close()
