"""A delivery worker on any queue, built as in `delivery.app`, for tests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from postroad.delivery.body_room import BodyRoom
from postroad.delivery.context import LONG_ENOUGH, AttemptContext, WorkerContext
from postroad.delivery.dispatch.orders import OrderKeeper
from postroad.delivery.dispatch.worker import Worker
from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.router import Router, RouterSettings
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.sites.pool import SessionPool
from postroad.dns.resolver import Resolver
from postroad.policy.model import (
    EgressPath,
    ObjectKey,
    Relay,
    RetrySchedule,
    SiteLimits,
    Smarthost,
    TlsMode,
)
from postroad.policy.secrets.seal import Reader
from postroad.queue.configuration import Configuration, publish_objects
from postroad.smtp_client.peer import Timeouts
from postroad.spool.agreement import Order
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Put, Ready, RecordConsumer, Spool
from postroad.spool.record import Origin
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.queue.queued_mail import SECOND, now, record

NAME = "relay.test"
HOUR = timedelta(hours=1)
CLIENT = Origin(client="shop/till", namespace="shop")
_RINGS = keyrings()


async def publish(spool: Spool, **egress_paths: EgressPath) -> None:
    """Publish Relays of namespace `shop`, by name; `anywhere` is for every domain."""
    entries = {}
    for name, egress_path in egress_paths.items():
        destination = "*" if name == "anywhere" else name.replace("_", ".")
        entries[f"relay.shop.{name}"] = Relay(ObjectKey("shop", name), (destination,), egress_path)
    await publish_objects(spool, dict(entries), _RINGS)


async def send(spool: Spool, *to: str, **more: object) -> list[str]:
    """Queue one message for each address from a Client of `shop`; return the queue ids."""
    ids = []
    for address in to:
        queue_id = spool.new_queue_id(now())
        queued = record(queue_id, address, **({"origin": CLIENT} | more))  # type: ignore[arg-type]
        limit = patient(1) * SECOND
        await spool.accept(queue_id, lambda _, q=queued: [Put(q, Ready())], timeout=limit)  # type: ignore[misc]
        ids.append(queue_id)
    return ids


def to_smarthost(mx: ScriptedMx, connections: int = 20) -> EgressPath:
    """Return an egress path to a scripted host, with a first retry after an hour."""
    return EgressPath(
        "relay:shop/smart",
        (Smarthost("127.0.0.1", mx.port),),
        tls=TlsMode.NONE,
        retry=RetrySchedule(first=timedelta(hours=1)),
        limits=SiteLimits(connections=connections),
    )


async def waiting(spool: Spool) -> list[tuple[WaitKind, str]]:
    """Return the records in the queue: each one's kind and first recipient."""
    found = [queued async for queued in spool.waiting.list(Selection())]
    return sorted((queued.kind, str(queued.record.recipients[0].mailbox)) for queued in found)


async def history(spool: Spool, kind: EventType, count: int = 1) -> list[Event]:
    """Wait for so many events of a type, and return them."""
    found = []
    async with asyncio.timeout(patient(10)):
        async for event in spool.events.read(types=frozenset({kind}), follow=True):
            found.append(event)
            if len(found) == count:
                break
    return found


def order(action: str, **selection: str) -> Order:
    """Return an order for an hour on the mail that has come until now; its id is its action."""
    placed = now()
    chosen = Selection(**selection)  # type: ignore[arg-type]
    return Order(action, action, chosen, placed, placed + HOUR, placed, "by order of the test")


async def counted(spool: Spool, order_id: str, number: int) -> None:
    """Wait until the process has reported that an order has changed so many records."""
    async with asyncio.timeout(patient(10)):
        while dict(await spool.orders.reports(order_id)) != {"tests": number}:  # noqa: ASYNC110 - asked
            await asyncio.sleep(0.01)


@asynccontextmanager
async def delivering(
    spool: Spool,
    *,
    resolver: Resolver | None = None,
    port: int = 25,
    room: int = 1000,
    room_bytes: int = 100_000_000,
    finish: float = 5.0,
    timeouts: Timeouts | None = None,
    pool: str = "default",
    long_enough: timedelta = LONG_ENOUGH,
    ca_file: str | None = None,
    process: str = "tests",
    body_room: BodyRoom | None = None,
) -> AsyncIterator[tuple[Worker, RecordConsumer]]:
    """
    Run a worker until the block ends, then drain it, with `finish` seconds for the attempts.

    `long_enough` is the time after which an attempt ends between two transactions. `ca_file` has
    authorities to trust in addition to the system's.
    """
    configuration = Configuration(
        spool, {Reader.DELIVERY: _RINGS[Reader.DELIVERY]}, retry=timedelta(seconds=0.01)
    )
    consumer = spool.take(pool=pool, room=room, room_bytes=room_bytes)
    settings = RouterSettings(
        smtp_port=port, rules=AddressRules(allow_private=True), own_names=frozenset({NAME})
    )
    context = WorkerContext(
        spool=spool,
        consumer=consumer,
        configuration=configuration,
        router=Router(resolver or Resolver(), settings),
        attempts=AttemptContext(
            spool,
            consumer,
            SessionPool(),
            NAME,
            timeouts or Timeouts(),
            ca_file=ca_file,
            long_enough=long_enough,
            body_room=body_room or BodyRoom(),
        ),
        notifier=Notifier(NAME),
        process=process,
        pool=pool,
        in_hand=room,
    )
    worker = Worker(context)
    keeper = OrderKeeper(context, obey=worker.obey)
    async with _running(worker, configuration.run(), keeper.run(), worker.run(), finish=finish):
        yield worker, consumer


@asynccontextmanager
async def _running(
    worker: Worker, *parts: Coroutine[Any, Any, None], finish: float
) -> AsyncIterator[None]:
    """Run the parts of a process until the block ends and its worker has drained."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield
    finally:
        await worker.drain(seconds=finish)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [e for e in ended if isinstance(e, Exception)]
    assert not errors, errors
