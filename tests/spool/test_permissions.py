"""Each role can do its work with the chart's permissions, and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from structlog.testing import capture_logs

from postroad.spool.agreement import Order
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Held, Put, Scheduled
from postroad.spool.jetstream.consume.poison.suspects import SUSPECT
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.provision import remake_presence
from postroad.spool.lanes.layout import Layout
from postroad.spool.record import BlobRef, Hold
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer, password_of
from postroad.testing.queue.queued_mail import QUICK, all_that_comes, crash, first, now, put, take
from postroad.testing.streams import hang_up

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LAYOUT = Layout(shards=2, lanes=2, replicas=1)

OpenAs = Callable[[str], Awaitable[JetStreamSpool]]


def options(server: NatsServer, role: str) -> SpoolOptions:
    return SpoolOptions(
        servers=(server.url,),
        user=role,
        password=password_of(role),
        role=role,
        process=role,
        timings=QUICK,
    )


@asynccontextmanager
async def connected(server: NatsServer, role: str) -> AsyncIterator[NatsLink]:
    """Connect as a role, with the product's own client."""
    link = NatsLink(options(server, role).access())
    await link.open()
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server with the chart's accounts, provisioned by the operator."""
    async with NatsServer(tmp_path, accounts=ACCOUNTS) as running:
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


@pytest.fixture
async def raw(server: NatsServer) -> AsyncIterator[Callable[[str], Awaitable[Client]]]:
    """Give a function that connects as a role, to try what its code never does."""
    opened: list[Client] = []

    async def quiet(_: Exception) -> None:
        pass

    async def open_one(role: str) -> Client:
        opened.append(
            await nats.connect(
                server.url,
                user=role,
                password=password_of(role),
                inbox_prefix=f"_INBOX_{role}".encode(),
                error_cb=quiet,
            )
        )
        return opened[-1]

    yield open_one
    for client in opened:
        await client.close()


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
            later = Put(leased.record.next_step(), Scheduled(now() + timedelta(hours=1)))
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
    assert waiting == {WaitKind.SCHEDULED: 1, WaitKind.HELD: 1}


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
    end = now() + timedelta(hours=1)
    assert await ingress.usage.lease("k", amount=7, maximum=10, expires=end) == 7
    await ingress.usage.give_back("k", 2)
    assert await operator.usage.used("k") == 5
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


@pytest.mark.parametrize("role", ["ingress", "delivery", "operator"])
async def test_any_process_makes_the_bucket_of_sessions_anew(
    server: NatsServer, open_as: OpenAs, role: str
) -> None:
    await open_as(role)
    await server.restart()  # and with it goes what was in its memory
    await open_as(role)
    async with connected(server, role) as link:
        await remake_presence(link, LAYOUT)
        assert (await link.client.request("$JS.API.STREAM.INFO.KV_presence")).data


# ---------------------------------------------------------------- what nobody may do


STREAM = json.dumps({"name": "POSTROAD_Q_0", "subjects": ["pr.q.0.>"]})
CONSUMER = json.dumps(
    {
        "stream_name": "POSTROAD_Q_0",
        "config": {"durable_name": "x", "ack_policy": "explicit", "filter_subject": "pr.q.0.>"},
    }
)
NOBODY = ("ingress", "delivery", "command")

FORBIDDEN = [
    *(
        (role, subject, body)
        for role in NOBODY
        for subject, body in [
            ("$JS.API.STREAM.DELETE.POSTROAD_Q_0", ""),
            ("$JS.API.STREAM.PURGE.POSTROAD_Q_0", ""),
            ("$JS.API.STREAM.UPDATE.POSTROAD_Q_0", STREAM),
            ("$JS.API.STREAM.UPDATE.KV_presence", "{}"),
            ("$JS.API.STREAM.CREATE.POSTROAD_Q_9", STREAM),
            ("$JS.API.STREAM.MSG.DELETE.POSTROAD_EVENTS", '{"seq": 1}'),
            ("$JS.API.STREAM.MSG.DELETE.KV_cluster", '{"seq": 1}'),
            ("$JS.API.STREAM.MSG.DELETE.KV_suppression", '{"seq": 1}'),
            ("$JS.API.STREAM.LIST", ""),
            ("$JS.API.STREAM.SNAPSHOT.POSTROAD_Q_0", "{}"),
            ("$JS.API.STREAM.LEADER.STEPDOWN.POSTROAD_Q_0", ""),
            ("$JS.API.CONSUMER.DELETE.POSTROAD_Q_0.x", ""),
            ("$JS.API.CONSUMER.DURABLE.CREATE.POSTROAD_Q_0.x", CONSUMER),
            ("$JS.API.CONSUMER.CREATE.POSTROAD_Q_0", CONSUMER),
            ("$JS.API.CONSUMER.CREATE.KV_config.x.$KV.config.>", "{}"),
            ("$KV.config.head", "{}"),
            ("$KV.config.entry.relay", "x"),
            ("$KV.cluster.meta", "{}"),
            ("$KV.cluster.capacity", "0"),
        ]
    ),
    *(
        (role, subject, body)
        for role in ("ingress", "command")
        for subject, body in [
            ("$JS.API.STREAM.MSG.DELETE.POSTROAD_Q_0", '{"seq": 1}'),
            ("$JS.API.CONSUMER.CREATE.POSTROAD_Q_0.x.pr.q.0.>", CONSUMER),
            ("$JS.API.CONSUMER.MSG.NEXT.POSTROAD_Q_0.default_x_p00", "1"),
            ("$JS.ACK.POSTROAD_Q_0.default_x_p00.1.1.1.1.0", "+ACK"),
            ("$KV.presence.owner.default.p00", "me"),
            ("$KV.presence.suspect.0-1", "1"),
            ("$KV.sites.y=2Eexample", "mx"),
            ("$KV.suppression.x", "x"),
        ]
    ),
    ("ingress", "$JS.API.DIRECT.GET.POSTROAD_Q_0", '{"seq": 1}'),
    ("ingress", "$JS.API.DIRECT.GET.POSTROAD_BLOB_0", '{"seq": 1}'),
    ("ingress", "$JS.API.STREAM.MSG.GET.POSTROAD_Q_0", '{"seq": 1}'),
    ("ingress", "$JS.API.DIRECT.GET.POSTROAD_EVENTS", '{"seq": 1}'),
    ("ingress", "$KV.cluster.order.x", "x"),
    ("delivery", "$JS.API.STREAM.MSG.GET.POSTROAD_EVENTS", '{"seq": 1}'),
    ("delivery", "$KV.cluster.order.x", "x"),
    ("ingress", "$KV.quotas.other.x", "x"),
    ("delivery", "$KV.quotas.x", "x"),
    ("delivery", "$KV.quotas.login.x", "1"),
    ("command", "pr.q.0.r.default.x.p00.y", "x"),
    ("command", "pr.b.0.x", "x"),
    ("command", "pr.e.Delivery", "x"),
    ("command", "$KV.quotas.x", "x"),
    ("command", "$KV.quotas.login.x", "1"),
    ("command", "$KV.presence.session.x", "x"),
    ("command", "$KV.cluster.report.x.y", "1"),
    ("command", "$JS.API.DIRECT.GET.KV_config", '{"seq": 1}'),
    ("command", "$JS.API.DIRECT.GET.KV_config.$KV.config.head", ""),
    ("command", "$JS.API.STREAM.MSG.GET.KV_config", '{"seq": 1}'),
    ("command", "$JS.API.STREAM.CREATE.KV_presence", "{}"),
    ("operator", "pr.q.0.r.default.x.p00.y", "x"),
    ("operator", "$JS.ACK.POSTROAD_Q_0.default_x_p00.1.1.1.1.0", "+ACK"),
]


async def test_whatever_a_role_has_no_need_of_is_forbidden(
    server: NatsServer, raw: Callable[[str], Awaitable[Client]]
) -> None:
    clients = {role: await raw(role) for role in (*NOBODY, "operator")}
    for role, subject, body in FORBIDDEN:
        client = clients[role]
        await client.publish(subject, body.encode(), reply=client.new_inbox())
    for client in clients.values():
        await client.flush()
    await wait_for(lambda: len(violations(server)) >= len(FORBIDDEN))
    told = violations(server)
    missing = [
        (role, subject)
        for role, subject, _ in FORBIDDEN
        if not any(f'user:{role}"' in line and f'Subject "{subject}"' in line for line in told)
    ]
    assert missing == []


async def test_nobody_listens_to_what_is_meant_for_others(
    server: NatsServer, raw: Callable[[str], Awaitable[Client]]
) -> None:
    tried = 0
    for role in (*NOBODY, "operator"):
        client = await raw(role)
        for subject in (">", "pr.>", "$KV.>", "_INBOX.>", "*.>"):
            await client.subscribe(subject)
            tried += 1
        for other in (*NOBODY, "operator"):
            if other != role:
                await client.subscribe(f"_INBOX_{other}.>")
                tried += 1
    # The server writes its log a little later than it answers.
    await wait_for(
        lambda: sum("Subscription Violation" in line for line in violations(server)) == tried
    )


@pytest.mark.parametrize(
    "filters",
    [
        {"filter_subject": ">"},
        {"filter_subject": "$KV.config.>"},
        {"filter_subjects": ["pr.q.0.>", "$KV.config.>"]},
        {},
    ],
)
async def test_a_consumer_takes_only_from_the_queue(
    server: NatsServer, raw: Callable[[str], Awaitable[Client]], filters: dict[str, object]
) -> None:
    """The right to make consumers names no stream: the server compares filter and subject."""
    delivery = await raw("delivery")
    config = {"durable_name": "x", "name": "x", "ack_policy": "explicit", **filters}
    request = json.dumps({"stream_name": "KV_config", "config": config}).encode()
    subject = "$JS.API.CONSUMER.CREATE.KV_config.x.pr.q.0.>"
    answer = await delivery.request(subject, request, timeout=2)
    assert "error" in json.loads(answer.data)


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"user": "ingress", "pass": "wrong"},
        {"user": "ingress", "pass": password_of("command")},
    ],
)
async def test_without_its_password_nobody_comes_in(
    server: NatsServer, login: dict[str, str]
) -> None:
    host, _, port = server.url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert (await reader.readline()).startswith(b"INFO ")
    writer.write(f"CONNECT {json.dumps({'verbose': False, **login})}\r\nPING\r\n".encode())
    assert await reader.read() == b"-ERR 'Authorization Violation'\r\n"
    await hang_up(writer)


async def test_what_is_forbidden_stands_in_the_log(server: NatsServer) -> None:
    with capture_logs() as lines:
        async with connected(server, "ingress") as link:
            requests = Requests(link)
            await requests.start()
            with pytest.raises(SpoolUnavailable):
                await requests.send("$KV.config.entry.x", b"1", timeout=0.3)
    told = [line for line in lines if line["log_level"] == "error"]
    assert told
    assert told[0]["user"] == "ingress"
    assert "$kv.config.entry" in told[0]["error"].lower()


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(patient(5)):
        while not await fact():
            await asyncio.sleep(0.02)


async def wait_for(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(5)):
        while not fact():
            await asyncio.sleep(0.02)
