"""
Storage is full to the last octet, as an intruder in ingress may fill it: an order makes room.

Neither the order itself nor what delivery does for it may need any room.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import nats.errors
import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError

from postroad.spool.agreement import Order
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Held
from postroad.spool.jetstream import browse
from postroad.spool.jetstream.consume import settle
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.provision import EVENTS_STREAM
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.lanes.lane import lane_of
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    counted,
    delivering,
    order,
    publish,
    send,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.accounts import API_PREFIX, as_role, bounded
from postroad.testing.queue.queued_mail import QUICK, SECOND, now, put, record
from postroad.testing.queue.walls import SHARDS, Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LANES = 2
LITTLE = 32_000_000  # octets
EVIL = "b@evil.example"
ROOM = (
    b"x" * 1_500_000
)  # the server takes one message more than fits, so the first octets do not help


@dataclass
class Full:
    """A queue with little room, and a process of each role."""

    servers: Servers
    spools: dict[str, JetStreamSpool]

    async def fill(self, compose: Callable[[int, bytes], tuple[str, bytes]]) -> None:
        """Store what is composed, as ingress, until nothing has any room."""
        numbers = itertools.count()
        for size in (1_000_000, 100_000, 10_000, 1000, 100, 1):
            answer = b""
            while b"error" not in answer:
                subject, data = compose(next(numbers), b"x" * size)
                answer = await self._ask(subject, data)
        assert b"10023" in answer or b"10002" in answer  # of the server, of the account

    async def _ask(self, subject: str, data: bytes) -> bytes:
        client = self.servers.clients["ingress"]
        async with asyncio.timeout(patient(20)):
            while True:
                try:
                    return (await client.request(subject, data, timeout=patient(5))).data
                except nats.errors.NoRespondersError:
                    await asyncio.sleep(0.1)  # the stream has no leader yet

    async def until_gone(self, *left: str) -> None:
        """Wait until the queue has only mail for these recipients."""
        async with asyncio.timeout(patient(20)):
            while [to for _, to in await waiting(self.spools["command"])] != list(left):
                await asyncio.sleep(0.1)


@asynccontextmanager
async def little_room(folder: Path, replicas: int = 1) -> AsyncIterator[Full]:
    accounts = ACCOUNTS
    capacity = LITTLE
    if replicas > 1:
        # As in the chart. A server hears a moment later what the others have stored, so its
        # own limit has to be higher by what is stored meanwhile. Here that may be everything.
        capacity += 100_000_000
        accounts = folder / "accounts.conf"
        accounts.write_text(bounded(ACCOUNTS.read_text(), octets=LITTLE * replicas))
    async with AsyncExitStack() as stack:
        walls = walled(folder, accounts, replicas=replicas, capacity=capacity)
        servers = await stack.enter_async_context(walls)
        urls, spools = [each.url for each in servers.servers], {}
        for role in ("operator", "ingress", "delivery", "command"):
            spools[role] = await connect(as_role(role, *urls, timings=QUICK))
            stack.push_async_callback(spools[role].close)
        yield Full(servers, spools)


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Full]:
    async with little_room(tmp_path) as queue:
        yield queue


def forged(number: int, content: bytes) -> tuple[str, bytes]:
    """Compose new mail as an intruder would."""
    shard = number % SHARDS
    told = record(new_queue_id(now(), shard), EVIL, content=content)
    return intake_subject(shard, told, lane_of(told, LANES)), encode(told)


def malformed(number: int, content: bytes) -> tuple[str, bytes]:
    """Compose octets that are no record."""
    return forged(number, content)[0], content


def nobodys(number: int, content: bytes) -> tuple[str, bytes]:
    """Compose a chunk of a body that no record names."""
    return f"pr.d.{number % SHARDS}.none{number}.0", content


def defers_evil(line: bytes, _: int) -> bytes | None:
    return b"450 4.2.0 later\r\n" if EVIL.encode() in line else None


@pytest.mark.parametrize("replicas", [1, 3])
async def test_an_order_makes_room_after_which_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    """With three servers it takes longer, since they have to elect the leaders of all streams."""
    monkeypatch.setattr(browse, "OVERDUE", SECOND)
    monkeypatch.setattr(settle, "_FIRST_RETURN", 1.0)  # seconds until what has no room comes again
    mx = ScriptedMx()
    mx.script = defers_evil
    async with little_room(tmp_path, replicas) as full, mx:
        spools = full.spools
        await publish(spools["operator"], anywhere=to_smarthost(mx))
        await put(spools["delivery"], "c@y.example", place=Deferred(now() + SECOND), origin=CLIENT)
        await full.fill(forged)
        async with delivering(spools["delivery"]):
            await spools["command"].orders.place(order("delete", domain="evil.example"))
            await full.until_gone()
            await asyncio.wait_for(mx.received(1), patient(30))
            async with asyncio.timeout(patient(20)):
                while not spools["ingress"].accepting:
                    await asyncio.sleep(0.05)
            await send(spools["ingress"], "d@y.example")
            await asyncio.wait_for(mx.received(2), patient(20))


async def test_malformed_mail_is_deleted_though_it_cannot_be_held(
    full: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is stored apart when it is held, and needs room to be deleted there."""
    monkeypatch.setattr(settle, "_FIRST_RETURN", 1.0)
    spools = full.spools
    await publish(spools["operator"])
    await full.fill(malformed)
    async with delivering(spools["delivery"]):
        await spools["command"].orders.place(order("delete", domain="evil.example"))
        disk = full.servers.clients["operator"].jetstream(prefix=API_PREFIX)
        async with asyncio.timeout(patient(30)):
            while [each.config.name for each in await disk.streams_info() if holds_mail(each)]:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("due", [HOUR, SECOND])
async def test_mail_that_waits_is_deleted_without_a_write(
    full: Full, monkeypatch: pytest.MonkeyPatch, due: timedelta
) -> None:
    """What fills the storage is no mail here, so nothing else makes room for the deletion."""
    monkeypatch.setattr(browse, "OVERDUE", 5 * SECOND)
    delivery, command, soon = full.spools["delivery"], full.spools["command"], now() + SECOND
    await put(delivery, EVIL, place=Deferred(now() + due), content=ROOM)
    await publish(full.spools["operator"])
    await full.fill(nobodys)
    await asyncio.sleep((soon - now()).total_seconds() + 2)  # it may be overdue: nothing fires
    async with delivering(delivery):
        await command.orders.place(order("delete", domain="evil.example"))
        await full.until_gone()
        await counted(command, "delete", 1)


async def test_an_order_without_room_can_be_withdrawn(full: Full) -> None:
    command, delivery = full.spools["command"], full.spools["delivery"]
    before, after = replace(order("hold"), order_id="before"), order("hold")
    await command.orders.place(before)
    await full.fill(forged)
    await command.orders.place(after)
    for placed in (before, after):
        await until_known(delivery, placed)
        await command.orders.withdraw(placed.order_id)
        await until_known(delivery, placed, ended=True)
    assert not await command.orders.withdraw("before")


async def test_an_order_without_room_is_on_disk_once_there_is_room(full: Full) -> None:
    """A restart of the only server loses what is in its memory."""
    command, delivery = full.spools["command"], full.spools["delivery"]
    gone, placed = replace(order("hold"), order_id="gone"), order("hold")
    await command.orders.place(gone)
    await put(delivery, place=Held(now() + HOUR), content=ROOM)
    await full.fill(forged)
    await command.orders.place(placed)
    await command.orders.withdraw("gone")
    [large] = [
        each async for each in delivery.waiting.list(Selection(kinds=frozenset({WaitKind.HELD})))
    ]
    await delivery.waiting.remove(large, now())
    disk = full.servers.clients["operator"].jetstream(prefix=API_PREFIX)
    async with asyncio.timeout(patient(10)):
        while await kept(disk) != {"order.hold"}:
            await asyncio.sleep(0.05)
    server = full.servers.servers[0]
    server.kill()
    await server.start()
    again = await connect(as_role("delivery", server.url, timings=QUICK))
    assert again.orders.in_force(now()) == [placed]
    await again.close()


def holds_mail(stream: StreamInfo) -> bool:
    """Whether a stream has records, or parts of bodies that are not deleted."""
    name, kept = str(stream.config.name), stream.state.bytes
    return name.startswith("POSTROAD_") and name != EVENTS_STREAM and kept > 100_000


async def kept(disk: JetStreamContext) -> set[str]:
    """Return the names of the orders on disk that are not withdrawn."""
    found = set()
    for name in ("order.hold", "order.gone"):
        with contextlib.suppress(NotFoundError):
            message = await disk.get_last_msg("KV_cluster", f"$KV.cluster.{name}")
            found |= {name} if message.data else set()
    return found


async def until_known(spool: JetStreamSpool, placed: Order, *, ended: bool = False) -> None:
    """Wait until a process knows that an order is in force, or not any more."""
    async with asyncio.timeout(patient(10)):
        while (placed not in spool.orders.in_force(now())) is not ended:
            await asyncio.sleep(0.05)
