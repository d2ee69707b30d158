"""Each role can do its work with the chart's permissions, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.spool.agreement import Order
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Deferred, Held, Put
from postroad.spool.jetstream.consume.poison.suspects import SUSPECT
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import BlobRef, Hold
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, all_that_comes, crash, first, now, put, take

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LAYOUT = Layout(shards=2, lanes=2, replicas=1)

OpenAs = Callable[[str], Awaitable[JetStreamSpool]]


def options(server: NatsServer, role: str) -> SpoolOptions:
    return as_role(role, server.url, process=role, timings=QUICK)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with the chart's accounts, provisioned by the operator."""
    async with NatsServer(tmp_path, accounts=ACCOUNTS, shards=LAYOUT.shards) as running:
        await provision(options(running, "operator"), layout=LAYOUT, capacity=10**9)
        yield running


@pytest.fixture
async def open_as(server: NatsServer) -> AsyncIterator[OpenAs]:
    """Give a function that joins as a role; what the server forbade any of them fails the test."""
    opened: list[JetStreamSpool] = []

    async def open_one(role: str) -> JetStreamSpool:
        opened.append(await connect(options(server, role)))
        return opened[-1]

    yield open_one
    for spool in opened:
        await spool.close()
    assert violations(server) == []


def violations(server: NatsServer) -> list[str]:
    """Return what the server forbade somebody."""
    return [line for line in server.log.splitlines() if "Violation" in line]


# ---------------------------------------------------------------- what each role does


async def test_mail_goes_its_whole_way(open_as: OpenAs) -> None:
    ingress, delivery = await open_as("ingress"), await open_as("delivery")
    writer = ingress.write_body(lifetime=timedelta(hours=1))
    await writer.write(b"Subject: large\r\n\r\n" + b"x" * 1_200_000)
    body = await writer.finish(destinations=1)
    given_up = ingress.write_body(lifetime=timedelta(hours=1))
    await given_up.write(b"y" * 600_000)
    await given_up.abort()

    await put(ingress, "inline@y.example")
    await put(ingress, "one@a.example", "two@b.example", "three@c.example")
    await put(ingress, "large@y.example", content=body)

    consumer = take(delivery)
    for leased in await first(consumer, 5):
        to = str(leased.record.recipients[0].mailbox)
        assert await consumer.confirm(leased)
        if to.startswith("inline"):
            later = Put(leased.record.next_step(), Deferred(now() + timedelta(hours=1)))
            await consumer.settle(leased, [later])
        elif to.startswith("one"):
            held = leased.record.next_step(hold=Hold("Admin"))
            await consumer.settle(leased, [Put(held, Held(now() + timedelta(days=1)))])
        elif to.startswith("large"):
            content = b"".join([chunk async for chunk in delivery.read_body(leased.record)])
            assert len(content) == body.size
            await consumer.settle(leased)
        else:
            await consumer.settle(leased)
    await consumer.stop()
    await consumer.close()

    waiting = {
        kind: tally.number
        for (kind, _, _), tally in (await (await open_as("command")).waiting.counts()).items()
    }
    assert waiting == {WaitKind.DEFERRED: 1, WaitKind.HELD: 1}


async def test_what_was_handed_out_several_times_is_noted_down_and_tried(open_as: OpenAs) -> None:
    delivery = await open_as("delivery")
    await put(await open_as("ingress"))
    for _ in range(SUSPECT - 1):
        consumer = take(delivery)
        await first(consumer, 1)
        await crash(consumer)
    consumer = take(delivery)
    async with asyncio.timeout(patient(10)):
        [leased] = await first(consumer, 1)
    assert leased.deliveries == SUSPECT
    await consumer.settle(leased)
    await consumer.close()


async def test_what_is_settled_ends_though_its_consumer_was_lost(
    server: NatsServer, open_as: OpenAs
) -> None:
    delivery = await open_as("delivery")
    await open_as("operator")
    await put(await open_as("ingress"))
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    await consumer.stop()
    await server.restart()
    async with asyncio.timeout(patient(20)):
        await consumer.settle(leased)
    await consumer.close()
    assert await all_that_comes(delivery) == []
    assert await (await open_as("command")).waiting.counts() == {}


async def test_quotas_are_leased_and_sites_are_learnt(open_as: OpenAs) -> None:
    ingress, delivery, operator = [
        await open_as(role) for role in ("ingress", "delivery", "operator")
    ]
    since, end = (now() + hours * timedelta(hours=1) for hours in (-1, 1))
    assert await ingress.usage.lease("k", amount=7, maximum=10, since=since, expires=end) == 7
    await ingress.usage.give_back("k", 2, since=since)
    assert await operator.usage.used("k", since=since) == 5
    ingress.past_logins.note("a" * 32)
    await until(lambda: ingress.past_logins.noted("a" * 32))
    await delivery.sites.learn("y.example", "mx.example")
    assert delivery.sites.lookup("y.example") == "mx.example"
    assert ingress.sites.lookup("y.example") == ""  # asked for now
    await wait_for(lambda: ingress.sites.lookup("y.example") == "mx.example")


async def test_the_configuration_goes_from_the_operator_to_the_others(open_as: OpenAs) -> None:
    operator = await open_as("operator")
    generation = await operator.config.publish({"relay.default.a": b"1"})
    for role in ("ingress", "delivery"):
        spool = await open_as(role)
        state = await anext(aiter(spool.config.follow()))
        assert dict(state.entries) == {"relay.default.a": b"1"}
        await spool.sessions.announce(generation)
    live = {each.role: each.generation for each in await operator.sessions.live()}
    assert live == {"operator": 0, "ingress": generation, "delivery": generation}


async def test_a_person_looks_at_the_queue_and_gives_orders(open_as: OpenAs) -> None:
    ingress, delivery, command = [
        await open_as(role) for role in ("ingress", "delivery", "command")
    ]
    writer = ingress.write_body(lifetime=timedelta(hours=1))
    await writer.write(b"z" * 600_000)
    queue_id = await put(ingress, content=await writer.finish(destinations=1))
    ingress.events.add(Event(type=EventType.RECEPTION, at=now(), queue_id=queue_id))

    [queued] = [each async for each in command.waiting.list(Selection(queue_id=queue_id))]
    assert isinstance(queued.record.content, BlobRef)
    content = [chunk async for chunk in command.read_body(queued.record)]
    assert sum(map(len, content)) == 600_000
    async for event in command.events.read(follow=True):
        assert event.queue_id == queue_id
        break

    order = Order("o1", "hold", Selection(), now(), now() + timedelta(hours=1), now(), "why")
    await command.orders.place(order)
    await wait_for(lambda: list(delivery.orders.in_force(now())) == [order])
    await delivery.orders.report("o1", "delivery-0", 3)
    assert await command.orders.reports("o1") == {"delivery-0": 3}
    assert await delivery.orders.reports("o1") == {"delivery-0": 3}  # after it was started again
    assert await command.orders.withdraw("o1")
    assert {each.role for each in await command.sessions.live()} == {"ingress", "delivery"}


async def test_the_operator_alone_makes_the_bucket_of_sessions_anew(
    server: NatsServer, open_as: OpenAs
) -> None:
    """The others wait for it: they may make nothing."""
    ingress = await open_as("ingress")
    await server.restart()  # and with it goes what was in its memory
    await wait_for(lambda: "has not answered" in str(ingress.refusal()))
    operator = await open_as("operator")
    await wait_for(lambda: ingress.accepting)
    assert {each.role for each in await operator.sessions.live()} == {"ingress", "operator"}


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(patient(5)):
        while not await fact():
            await asyncio.sleep(0.02)


async def wait_for(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(5)):
        while not fact():
            await asyncio.sleep(0.02)
