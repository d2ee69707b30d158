"""
New mail in a lane that is not its site's: the site's owner sends it, within the site's limits.

A process that accepts mail chooses the lane, in the subject. If it is compromised, it can put mail
for one site into all lanes, so that all owners would send there, each up to the limits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.client import Client

from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.lanes.lane import lane_names
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import CLIENT, delivering, publish, to_smarthost
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, kinds, now, record
from postroad_harness.setups.spool.intruder import intruding, server_with_accounts

pytestmark = pytest.mark.nats

LAYOUT = Layout(shards=1, lanes=8, replicas=1)
EACH = 8  # messages in each lane


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with server_with_accounts(tmp_path, LAYOUT) as running:
        yield running


@pytest.fixture
async def ingress(server: NatsServer) -> AsyncIterator[Client]:
    """Somebody with the password of ingress."""
    async with intruding(server) as client:
        yield client


async def process(server: NatsServer, stack: AsyncExitStack, name: str) -> JetStreamSpool:
    spool = await connect(as_role("delivery", server.url, process=name, timings=QUICK))
    stack.push_async_callback(spool.close)
    return spool


async def in_all_lanes(ingress: Client, site: str, lane_moves: int) -> None:
    for lane in list(lane_names(LAYOUT.lanes)) * EACH:
        to_it = {"site": site, "origin": CLIENT, "lane_moves": lane_moves}
        forged = record(new_queue_id(now(), 0), **to_it)  # type: ignore[arg-type]
        await ingress.request(intake_subject(0, forged, lane), encode(forged), timeout=patient(5))


async def test_mail_in_all_lanes_leaves_within_the_limits_of_its_site(
    server: NatsServer, ingress: Client
) -> None:
    """Each owner of a lane sent up to the limits, as if the site were its own."""
    async with ScriptedMx(slowness=0.02) as mx, AsyncExitStack() as stack:
        path = to_smarthost(mx, connections=2)
        operator = await connect(as_role("operator", server.url, timings=QUICK))
        stack.push_async_callback(operator.close)
        await publish(operator, anywhere=path)
        owners = [await process(server, stack, name) for name in ("one", "two")]
        takers = [(await stack.enter_async_context(delivering(each)))[1] for each in owners]
        async with asyncio.timeout(patient(20)):
            while not all(each.lanes and each.lanes_elsewhere for each in takers):
                await asyncio.sleep(0.05)
        await in_all_lanes(ingress, path.name, 0)
        async with asyncio.timeout(patient(30)):
            while len(mx.messages) < EACH * LAYOUT.lanes:
                await asyncio.sleep(0.05)
        assert mx.most_open == 2, "\n".join(mx.history)


async def test_new_mail_cannot_say_that_it_has_moved_often_enough(
    server: NatsServer, ingress: Client
) -> None:
    """Such mail stays where it is, so that processes that disagree pass none on for ever."""
    async with ScriptedMx() as mx, AsyncExitStack() as stack:
        path = to_smarthost(mx)
        operator = await connect(as_role("operator", server.url, timings=QUICK))
        stack.push_async_callback(operator.close)
        await publish(operator, anywhere=path)
        spool = await process(server, stack, "one")
        await stack.enter_async_context(delivering(spool))
        await in_all_lanes(ingress, path.name, 3)
        async with asyncio.timeout(patient(30)):
            while await kinds(spool) != [WaitKind.HELD] * EACH * LAYOUT.lanes:
                await asyncio.sleep(0.05)
        assert mx.messages == []
