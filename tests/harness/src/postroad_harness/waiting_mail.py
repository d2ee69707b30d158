"""Puts mail into a real queue, for tests of the commands that list it and give orders for it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

from postroad.mail.address import parse_mailbox
from postroad.spool.agreement import Order
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Put, QueueState
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.record import Hold, Origin, QueuedRecipient
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import now, record, store

HOUR = timedelta(hours=1)
Said = tuple[int, str, str]  # exit code, output, error output
Run = Callable[..., Awaitable[Said]]


async def put(
    spool: JetStreamSpool,
    *to: str,
    place: QueueState | None = None,
    age: timedelta = timedelta(0),
    client: str | None = None,
    hold: Hold | None = None,
    content: bytes = b"Subject: hi\r\n\r\nbody\r\n",
) -> str:
    arrival = now() - age
    place = place or Deferred(now() + HOUR)

    queue_id = new_queue_id(arrival, len(to) % 4)
    origin = Origin(client=client)
    more = {"arrival": arrival, "origin": origin, "hold": hold, "content": content}
    records = [record(queue_id, address, number, **more) for number, address in enumerate(to)]
    await store(spool, [Put(each, place) for each in records])
    return queue_id


async def put_for(spool: JetStreamSpool, *to: str) -> str:
    """Put one message for recipients of one domain: one record."""
    recipients = tuple(QueuedRecipient(parse_mailbox(each)) for each in to)
    queue_id = new_queue_id(now(), 1)
    queued = record(queue_id, to[0], recipients=recipients)
    await store(spool, [Put(queued, Deferred(now() + HOUR))])
    return queue_id


async def obeyed(spool: JetStreamSpool, running: Awaitable[Said]) -> tuple[Order, Said]:
    """Act as delivery: report two changed records for an order; return it and the command's end."""
    command = asyncio.ensure_future(running)
    async with asyncio.timeout(patient(30)):
        await spool.orders.changed()
        [order] = spool.orders.in_force(now())
        await spool.orders.report(order.order_id, "tests", 2)
        return order, await command


async def in_force(spool: JetStreamSpool, *actions: str) -> list[Order]:
    """Return the orders in force as soon as they are these."""
    async with asyncio.timeout(patient(10)):
        while [each.action for each in spool.orders.in_force(now())] != list(actions):
            await spool.orders.changed()
    return list(spool.orders.in_force(now()))


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]
