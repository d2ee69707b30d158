"""The disk is nearly full: new mail that a Quota holds cannot be moved, but can be deleted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Held, Put
from postroad.spool.jetstream.consume import settle
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.capacity import Capacity
from postroad.spool.lanes.keys import QueueStream
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.record import QUOTA, Hold
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    delivering,
    history,
    order,
    publish,
    send,
    to_smarthost,
)
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import SECOND, now, record

pytestmark = pytest.mark.nats


@pytest.fixture
async def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JetStreamSpool]:
    monkeypatch.setattr(Capacity, "exhausted", True)
    monkeypatch.setattr(settle, "_LONGEST_COMING", 0.5)
    async with NatsServer(tmp_path) as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE)
        spool = await connect(options)
        yield spool
        await spool.close()


async def hold(spool: JetStreamSpool, to: str) -> None:
    """Accept a message that a Quota holds."""

    def compose(queue_id: str) -> list[Put]:
        held = record(queue_id, to, hold=Hold(QUOTA), origin=CLIENT)
        return [Put(held, Held(now() + HOLD_LIMIT))]

    await spool.accept(spool.new_queue_id(now()), compose, timeout=patient(5) * SECOND)


async def left(spool: JetStreamSpool) -> list[tuple[QueueStream, str]]:
    """Return in which stream mail is, and for which domain."""
    found = [each async for each in spool.waiting.list(Selection())]
    return [(each.key.stream, each.record.domain) for each in found]


async def test_held_mail_that_cannot_be_moved_holds_up_no_other_and_is_deleted_by_an_order(
    full: JetStreamSpool,
) -> None:
    for domain in ("y.example", "z.example"):
        await hold(full, f"b@{domain}")
    async with ScriptedMx() as mx:
        await publish(full, anywhere=to_smarthost(mx))
        async with delivering(full):
            await send(full, "c@y.example")
            await asyncio.wait_for(mx.received(1), patient(10))
            await full.orders.place(order("delete", domain="y.example"))
            await history(full, EventType.ADMIN_DELETE)
            async with asyncio.timeout(patient(10)):
                while await left(full) != [(QueueStream.INTAKE, "z.example")]:
                    await asyncio.sleep(0.05)
            assert len(mx.messages) == 1, "held mail was not sent"
