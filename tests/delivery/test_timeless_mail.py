"""New mail that says of itself that no order concerns it: operators' orders act on it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client

from postroad.spool.event import EventType
from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import Hold
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    counted,
    delivering,
    history,
    order,
    publish,
    to_smarthost,
)
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, now, record, until
from postroad_harness.setups.spool.intruder import intruding, server_with_accounts

pytestmark = pytest.mark.nats

LAYOUT = Layout(shards=1, lanes=1, replicas=1)
YEAR = timedelta(days=365)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with server_with_accounts(tmp_path, LAYOUT) as running:
        yield running


@pytest.fixture
async def intruder(server: NatsServer) -> AsyncIterator[Client]:
    """Somebody with the password of ingress."""
    async with intruding(server) as client:
        yield client


async def opened(server: NatsServer, stack: AsyncExitStack, role: str) -> JetStreamSpool:
    spool = await connect(as_role(role, server.url, process=role, timings=QUICK))
    stack.push_async_callback(spool.close)
    return spool


async def forge(intruder: Client, **said: object) -> None:
    """Store new mail that says this of itself."""
    mail = record(new_queue_id(now(), 0), origin=CLIENT, **said)  # type: ignore[arg-type]
    subject = intake_subject(0, mail, "p00")
    await intruder.request(subject, encode(mail), timeout=patient(5))


@pytest.mark.parametrize("waits", [False, True], ids=["ready", "held"])
async def test_mail_that_says_it_comes_next_year_is_deleted_by_an_order(
    server: NatsServer, intruder: Client, waits: bool
) -> None:
    hold = {"hold": Hold("Quota"), "waits_until": now() + YEAR} if waits else {}
    async with ScriptedMx() as mx, AsyncExitStack() as stack:
        operator, command = [await opened(server, stack, each) for each in ("operator", "command")]
        await publish(operator, anywhere=to_smarthost(mx))
        await forge(intruder, arrival=now() + YEAR, deadline=now() + 2 * YEAR, **hold)
        placed = order("delete", domain="y.example")
        listed = Selection(arrived_before=placed.placed)
        assert len([each async for each in command.waiting.list(listed)]) == 1
        await command.orders.place(placed)
        delivery = await opened(server, stack, "delivery")
        async with delivering(delivery):
            await counted(delivery, "delete", 1)
            await history(delivery, EventType.ADMIN_DELETE)
        assert mx.messages == []


async def test_mail_that_says_it_is_released_for_good_is_not_sent(
    server: NatsServer, intruder: Client
) -> None:
    """No order would act on it, since a release ends all orders before it."""
    async with ScriptedMx() as mx, AsyncExitStack() as stack:
        operator = await opened(server, stack, "operator")
        await publish(operator, anywhere=to_smarthost(mx))
        await forge(intruder, released=now() + YEAR)
        delivery = await opened(server, stack, "delivery")
        async with delivering(delivery):
            await until(delivery, WaitKind.HELD)
        assert mx.messages == []
        [held] = [each async for each in delivery.waiting.list(Selection())]
        assert held.record.hold == Hold("Unreadable")
