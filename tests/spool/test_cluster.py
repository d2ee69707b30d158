"""Three replicating servers: promises that a single server cannot show."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import nats.errors
import pytest

from postroad.spool.agreement import named_site
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import stream_name
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.lane import lane_names
from postroad.spool.lanes.layout import Layout
from postroad.spool.lanes.owners import wanted_lanes
from postroad.testing.patience import patient
from postroad.testing.queue.nats_cluster import NatsCluster, provisioned
from postroad.testing.queue.queued_mail import (
    QUICK,
    crash_process,
    first,
    is_there,
    put,
    share,
    take,
)

CLUSTER = Layout(shards=3, lanes=32, replicas=3)
pytestmark = [pytest.mark.nats, pytest.mark.faults]

PATIENCE = timedelta(seconds=20)
PATIENT = replace(QUICK, session_life=timedelta(seconds=6), self_doubt=timedelta(seconds=5))
MINUTE = timedelta(minutes=1)
# It neither doubts itself nor reads the sessions while a test lasts.
SELDOM = replace(
    QUICK,
    session_life=3 * MINUTE,
    renewal=MINUTE,
    self_doubt=2 * MINUTE,
    ack_wait=MINUTE,
)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path) as running:
        await provisioned(options(running, "operator"), layout=CLUSTER, capacity=10**10)
        yield running


def options(cluster: NatsCluster, role: str) -> SpoolOptions:
    return SpoolOptions(servers=cluster.urls, role=role, process=role, patience=PATIENCE)


def restart(cluster: NatsCluster) -> None:
    """Kill all servers, so that what is only in their memory is lost, and start them again."""
    for server in cluster.servers:
        server.kill()
    for server in cluster.servers:
        server.spawn()


async def consumers(cluster: NatsCluster) -> dict[tuple[str, str], int]:
    """Return how much each consumer has delivered, by its name and the time of its creation."""
    client = FastClient()
    found = {}
    try:
        await client.connect(list(cluster.urls), allow_reconnect=False)
        for shard in range(CLUSTER.shards):
            stream = stream_name(QueueStream.INTAKE, shard)  # where new mail is
            answer = await client.request(f"$JS.API.CONSUMER.LIST.{stream}", b"{}", 5)
            for each in json.loads(answer.data).get("consumers") or ():
                found[each["name"], each["created"]] = int(each["delivered"]["consumer_seq"])
    except (nats.errors.Error, OSError):
        return {}  # the servers are still starting
    finally:
        await client.close()
    return found


@pytest.fixture
async def ingress(cluster: NatsCluster) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(replace(options(cluster, "ingress"), timings=QUICK))
    yield spool
    await spool.close()


@pytest.fixture
async def delivery(cluster: NatsCluster) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(options(cluster, "delivery"))
    yield spool
    await spool.close()


async def test_all_lanes_are_pulled_within_seconds(
    ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """A consumer for each of 32 lanes, 3 shards and 2 classes: one by one they take 12 s."""
    for number in range(100):
        await put(ingress, f"a@d{number}.example")
    consumer = take(delivery, room=200)
    started = time.monotonic()
    leased = await first(consumer, 100)
    assert time.monotonic() - started < patient(8)
    await asyncio.gather(*(consumer.settle(one) for one in leased))
    await consumer.stop()
    await consumer.close()


async def test_a_body_is_read_whole_right_after_it_was_written(
    ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """A follower that lags may be asked: what it lacks its leader has."""
    for number in range(20):
        writer = ingress.write_body(lifetime=timedelta(hours=1))
        await writer.write(bytes([number]) * 1_500_000)
        body = await writer.finish(destinations=1)
        await put(ingress, content=body)
    consumer = take(delivery)
    for leased in await first(consumer, 20):
        chunks = [chunk async for chunk in delivery.read_body(leased.record)]
        assert sum(map(len, chunks)) == 1_500_000
        await consumer.settle(leased)
    await consumer.stop()
    await consumer.close()


async def test_shared_bodies_go_with_the_last_of_their_destinations(
    cluster: NatsCluster, ingress: JetStreamSpool
) -> None:
    """Two processes end them, and what a follower says of it may be old."""
    as_pool = [replace(options(cluster, "delivery"), pool=pool, process=pool) for pool in "ab"]
    spools = [await connect(each) for each in as_pool]
    consumers = [
        s.take(pool=p, room=200, room_bytes=10**7) for s, p in zip(spools, "ab", strict=True)
    ]
    bodies = [await share(ingress, "a", "b") for _ in range(20)]
    for consumer in consumers:
        await asyncio.gather(*(consumer.settle(one) for one in await first(consumer, 20)))
    async with asyncio.timeout(patient(20)):
        for body in bodies:
            while await is_there(ingress, body):
                await asyncio.sleep(0.1)
    for consumer in consumers:
        await consumer.close()
    for spool in spools:
        await spool.close()


async def test_without_a_majority_mail_is_refused_and_taken_again_afterwards(
    cluster: NatsCluster, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    await put(ingress)
    for server in cluster.servers[1:]:
        server.kill()
    with pytest.raises(SpoolUnavailable):
        await put(ingress)
    async with asyncio.timeout(patient(10)):
        while not isinstance(ingress.refusal(), SpoolUnavailable):
            await asyncio.sleep(0.1)
    for server in cluster.servers[1:]:
        server.spawn()
    async with asyncio.timeout(patient(20)):
        while True:
            try:
                await put(ingress)
                break
            except SpoolUnavailable:
                continue
    consumer = take(delivery)
    assert len(await first(consumer, 2)) == 2
    await consumer.stop()
    await consumer.close()
    # Its listeners offer service again with the next renewal of its session.
    async with asyncio.timeout(patient(20)):
        while ingress.refusal() is not None:
            await asyncio.sleep(0.1)


async def test_a_restart_of_all_servers_empties_consumers_and_keeps_their_time_of_creation(
    cluster: NatsCluster, ingress: JetStreamSpool, delivery: JetStreamSpool
) -> None:
    """That is why the name of the servers' memory tells when consumers lost their state."""
    consumer = take(delivery)
    await put(ingress)
    await first(consumer, 1)
    before = await consumers(cluster)
    assert sum(before.values()) == 1
    await crash_process(delivery, consumer)
    restart(cluster)
    after: dict[tuple[str, str], int] = {}
    async with asyncio.timeout(patient(40)):
        while not before.keys() <= after.keys():
            await asyncio.sleep(0.2)
            after = await consumers(cluster)
    assert sum(after.values()) == 0


@pytest.mark.timeout(150)
async def test_what_a_whole_cluster_forgot_waits_while_a_former_owner_works_at_its_site(
    cluster: NatsCluster, ingress: JetStreamSpool
) -> None:
    """Over 5 s: all three servers are killed while a record is in hand."""
    here = replace(options(cluster, "delivery"), timings=PATIENT)
    former, killed = await connect(here), await connect(here)
    consumer = take(killed)
    await put(ingress, site="mx.y")
    [leased] = await first(consumer, 1)
    await consumer.settle(leased)
    await put(ingress, site="mx.y")  # after its consumer was made
    await first(consumer, 1)
    await crash_process(killed, consumer)
    left_open = ((named_site("mx.y"), 1),)
    await former.sessions.set_left_open(left_open)
    restart(cluster)
    async with asyncio.timeout(patient(80)):  # some hundred consumers are made again
        while left_open not in [info.left_open for info in former.sessions.seen]:
            await former.sessions.changed()
        owner = await connect(here)
        again = take(owner)
        coming = asyncio.create_task(first(again, 1))
        await until_delivered(cluster)
        await put(ingress, "c@z.example")
        [other] = await coming
        assert other.record.domain == "z.example"
        await former.sessions.set_left_open(())
        [leased] = await first(again, 1)
        assert leased.record.site == "mx.y"
    await again.close()
    for spool in (owner, killed, former):
        await spool.close()


async def test_what_came_again_is_known_before_the_sessions_are_read_again(
    cluster: NatsCluster, ingress: JetStreamSpool
) -> None:
    """Over 5 s: lanes go to another process with attempts under way, and the servers are killed."""
    here = options(cluster, "delivery")
    former = await connect(replace(here, timings=replace(PATIENT, ack_wait=MINUTE)))
    attempting = take(former)
    sites = [f"mx{number}.y" for number in range(16)]
    attempting.tell_left_open(lambda: dict.fromkeys(map(named_site, sites), 1))
    for _ in range(2):  # the second time after the consumers were made
        for site in sites:
            await put(ingress, site=site)
        await first(attempting, 16)
    owner = await connect(replace(here, timings=SELDOM))
    again = take(owner)
    coming = asyncio.create_task(first(again, 1))
    async with asyncio.timeout(patient(60)):
        while not again.lanes or again.lanes != wanted(owner):
            await asyncio.sleep(0.1)
        await owner.sessions.look()
        restart(cluster)
        await until_delivered(cluster, 32)
        for number in range(16):
            await put(ingress, "c@z.example", site=f"mx{number}.z")
        [other] = await coming
        assert other.record.domain == "z.example"
    for consumer in (again, attempting):
        await consumer.close()
    for spool in (owner, former):
        await spool.close()


def wanted(spool: JetStreamSpool) -> set[str]:
    """Return the lanes that a process should own, by the sessions that it knows."""
    sessions, lanes = spool.sessions, lane_names(CLUSTER.lanes)
    return {key.lane for key in wanted_lanes(sessions.session_id, (), lanes, sessions.seen)}


async def until_delivered(cluster: NatsCluster, count: int = 1) -> None:
    """Wait until the consumers have delivered so many records again."""
    while sum((await consumers(cluster)).values()) < count:
        await asyncio.sleep(0.1)
