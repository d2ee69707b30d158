"""
No role reaches more of the queue than the chart's accounts give it.

Each role stands in an account of its own. What its account does not import has nobody who answers.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import nats.errors
import pytest

from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, ROLES, password_of
from postroad.testing.queue.walls import SHARDS, Servers, walled
from postroad.testing.streams import hang_up

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
OTHERS = ("ingress", "delivery", "command")  # all but the operator, which has JetStream's account
API = f"{API_PREFIX}."
STATE = ("cluster", "presence", "presence_ingress", "quotas", "sites", "suppression")
READY = "pr.i.0.r.default.b.p00.y_example"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Servers]:
    async with walled(tmp_path, ACCOUNTS, replicas=1) as servers:
        yield servers


async def until_refused(servers: Servers, how: str, times: int) -> None:
    async with asyncio.timeout(patient(10)):
        while servers.refused(how) < times:
            await asyncio.sleep(0.02)


# ---------------------------------------------------------------- what each account imports


def reads(*buckets: str) -> set[str]:
    return {f"{API}DIRECT.GET.KV_{bucket}{key}" for bucket in buckets for key in ("", ".>")}


def looks() -> set[str]:
    """What it takes to look at the queue and its history."""
    shards = [f"POSTROAD_{kind}_{k}" for kind in ("I", "Q", "BODY", "BLOB") for k in range(SHARDS)]
    return {
        *(f"{API}DIRECT.GET.{stream}{one}" for stream in shards for one in ("", ".>")),
        *(f"{API}{way}.{stream}" for way in ("STREAM.MSG.GET", "STREAM.INFO") for stream in shards),
        *(f"{API}DIRECT.GET.POSTROAD_EVENTS{one}" for one in ("", ".>")),
        f"{API}STREAM.INFO.POSTROAD_EVENTS",
        f"{API}STREAM.MSG.GET.KV_cluster",
    }


def each_shard(*subjects: str) -> set[str]:
    return {subject.replace("#", str(k)) for subject in subjects for k in range(SHARDS)}


IMPORTS = {
    "ingress": {
        *each_shard("pr.i.#.*.*.*.*.*", "pr.d.#.*.*"),
        *("pr.e.Reception", "pr.e.Rejection", "$KV.presence.session.ingress.*"),
        *("$KV.quotas.*", "$KV.quotas.login.*"),
        *reads(
            "config", "cluster", "presence", "presence_ingress", "quotas", "sites", "suppression"
        ),
        *(f"{API}{what}" for what in ("INFO", "STREAM.INFO.POSTROAD_EVENTS")),
        f"{API}STREAM.MSG.GET.KV_cluster",
    },
    "delivery": {
        *each_shard("pr.q.#.>", "pr.d.#.*.*", "pr.b.#.>"),
        *("pr.e.*", "$JS.ACK.>", "$KV.presence.session.delivery.*", "$KV.presence.owner.>"),
        *("$KV.presence.site.>", "$KV.presence.suspect.*", "$KV.presence.memory"),
        *("$KV.cluster.report.>", "$KV.cluster.taker.*", "$KV.sites.>", "$KV.suppression.>"),
        *looks(),
        *reads(
            "config", "cluster", "presence", "presence_ingress", "quotas", "sites", "suppression"
        ),
        *each_shard(f"{API}CONSUMER.CREATE.POSTROAD_I_#.*.pr.i.#.>"),
        *each_shard(f"{API}CONSUMER.CREATE.POSTROAD_Q_#.*.pr.q.#.>"),
        *each_shard(f"{API}CONSUMER.MSG.NEXT.POSTROAD_I_#.*"),
        *each_shard(f"{API}CONSUMER.MSG.NEXT.POSTROAD_Q_#.*"),
        *each_shard(*(f"{API}STREAM.MSG.DELETE.POSTROAD_{kind}_#" for kind in "IQ")),
        f"{API}INFO",
    },
    "command": {
        *("$KV.cluster.order.*", "$KV.presence.order.*"),
        *looks(),
        *reads(*STATE),
    },
}


@pytest.mark.parametrize("role", OTHERS)
async def test_a_role_has_an_account_of_its_own_with_nothing_but_its_imports(
    one: Servers, role: str
) -> None:
    page = await asyncio.to_thread(one.servers[0].page, f"accountz?acc={role.upper()}")
    account = page["account_detail"]
    imports = [each for each in account["imports"] if each["account"] != "$SYS"]
    assert {each["account"] for each in imports} == {"POSTROAD"}
    assert {each["type"] for each in imports} == {"service"}
    assert {each["local_subject"] for each in imports} == IMPORTS[role]
    assert not account.get("exports")
    assert not account["jetstream_enabled"]
    assert account["client_connections"] == 1


async def test_nobody_else_is_in_the_account_of_the_queue(one: Servers) -> None:
    page = await asyncio.to_thread(one.servers[0].page, "accountz?acc=POSTROAD")
    assert page["account_detail"]["client_connections"] == 1  # the operator's
    every = await asyncio.to_thread(one.servers[0].page, "accountz")
    accounts = {"$G", "$SYS", "POSTROAD", *(role.upper() for role in OTHERS)}
    assert set(every["accounts"]) == accounts


# ---------------------------------------------------------------- what nobody may do


CONSUMER = json.dumps(
    {
        "stream_name": "POSTROAD_Q_0",
        "config": {"durable_name": "x", "ack_policy": "explicit", "filter_subject": "pr.q.0.>"},
    }
)
NEW = json.dumps({"name": "POSTROAD_Q_9", "subjects": ["pr.q.9.>"]})

FORBIDDEN = [
    *(
        (role, subject, body)
        for role in OTHERS
        for subject, body in [
            (f"{API}STREAM.DELETE.POSTROAD_Q_0", ""),
            (f"{API}STREAM.PURGE.POSTROAD_Q_0", ""),
            (f"{API}STREAM.PURGE.POSTROAD_BODY_0", ""),
            (f"{API}STREAM.MSG.DELETE.POSTROAD_BODY_0", '{"seq": 1}'),
            (f"{API}STREAM.UPDATE.KV_presence", "{}"),
            (f"{API}STREAM.CREATE.POSTROAD_Q_9", NEW),
            (f"{API}STREAM.CREATE.KV_presence", json.dumps({"name": "KV_presence"})),
            (f"{API}STREAM.MSG.DELETE.POSTROAD_EVENTS", '{"seq": 1}'),
            (f"{API}STREAM.MSG.DELETE.KV_cluster", '{"seq": 1}'),
            (f"{API}STREAM.LIST", ""),
            (f"{API}STREAM.NAMES", ""),
            (f"{API}STREAM.SNAPSHOT.POSTROAD_Q_0", "{}"),
            (f"{API}STREAM.LEADER.STEPDOWN.POSTROAD_Q_0", ""),
            (f"{API}CONSUMER.DELETE.POSTROAD_Q_0.x", ""),
            (f"{API}CONSUMER.DURABLE.CREATE.POSTROAD_Q_0.x", CONSUMER),
            (f"{API}CONSUMER.CREATE.POSTROAD_Q_0", CONSUMER),
            (f"{API}CONSUMER.CREATE.KV_config.x.$KV.config.>", "{}"),
            ("$KV.config.head", "{}"),
            ("$KV.config.entry.relay", "x"),
            ("$KV.cluster.meta", "{}"),
            ("$KV.cluster.capacity", "0"),
            ("$KV.presence.disk.nats-0", '{"free": 0}'),
            ("$KV.presence.session.operator.x", "x"),
            ("pr.q.0.z.x", "x"),
        ]
        if not (role == "delivery" and subject == "pr.q.0.z.x")
    ),
    *(
        (role, subject, body)
        for role in ("ingress", "command")
        for subject, body in [
            (f"{API}STREAM.MSG.DELETE.POSTROAD_I_0", '{"seq": 1}'),
            (f"{API}STREAM.MSG.DELETE.POSTROAD_Q_0", '{"seq": 1}'),
            (f"{API}CONSUMER.CREATE.POSTROAD_Q_0.x.pr.q.0.>", CONSUMER),
            (f"{API}CONSUMER.MSG.NEXT.POSTROAD_Q_0.default_x_p00", "1"),
            ("$JS.ACK.POSTROAD_Q_0.default_x_p00.1.1.1.1.0", "+ACK"),
            ("$KV.presence.owner.default.p00", "me"),
            ("$KV.presence.suspect.0-1", "1"),
            ("$KV.presence.session.delivery.x", "x"),
            ("$KV.sites.y=2Eexample", "mx"),
            ("$KV.suppression.x", "x"),
            ("$KV.cluster.taker.x", "x"),
        ]
    ),
    ("ingress", f"{API}DIRECT.GET.POSTROAD_Q_0", '{"seq": 1}'),
    *(
        ("ingress", f"{API}{what}.POSTROAD_{stream}_0", '{"seq": 1}')
        for what in ("DIRECT.GET", "STREAM.MSG.GET", "STREAM.INFO")
        for stream in ("BODY", "BLOB")
    ),
    ("ingress", f"{API}STREAM.MSG.GET.POSTROAD_Q_0", '{"seq": 1}'),
    ("ingress", f"{API}DIRECT.GET.POSTROAD_EVENTS", '{"seq": 1}'),
    ("ingress", "$KV.cluster.order.x", "x"),
    ("ingress", "$KV.presence.order.x", "x"),
    ("ingress", "pr.i.0.r.short", "x"),
    ("ingress", "pr.q.0.r.default.bulk.00.y_example", "x"),
    ("delivery", READY, "x"),
    *(("ingress", f"pr.e.{kind}", "x") for kind in ("Delivery", "Bounce", "Expiration", "Other")),
    ("ingress", "pr.b.0.x", "x"),
    ("ingress", "pr.b.0.x.ended", "x"),
    ("ingress", "pr.d.0.x", "x"),
    ("ingress", "$KV.quotas.other.x", "x"),
    ("delivery", "$KV.presence.session.ingress.x", "x"),
    ("delivery", f"{API}STREAM.MSG.GET.POSTROAD_EVENTS", '{"seq": 1}'),
    ("delivery", f"{API}CONSUMER.CREATE.POSTROAD_BODY_0.x.pr.d.0.>", "{}"),
    ("delivery", f"{API}CONSUMER.CREATE.POSTROAD_BLOB_0.x.pr.b.0.>", "{}"),
    ("delivery", "$KV.cluster.order.x", "x"),
    ("delivery", "$KV.presence.order.x", "x"),
    ("delivery", "$KV.quotas.x", "x"),
    ("delivery", "$KV.quotas.login.x", "1"),
    ("command", READY, "x"),
    ("command", "pr.b.0.x", "x"),
    ("command", "pr.d.0.x.0", "x"),
    ("command", "pr.e.Delivery", "x"),
    ("command", "$KV.quotas.x", "x"),
    ("command", "$KV.quotas.login.x", "1"),
    ("command", "$KV.presence.session.command.x", "x"),
    ("command", "$KV.cluster.report.x.y", "1"),
    ("command", f"{API}DIRECT.GET.KV_config", '{"seq": 1}'),
    ("command", f"{API}DIRECT.GET.KV_config.$KV.config.head", ""),
    ("command", f"{API}STREAM.MSG.GET.KV_config", '{"seq": 1}'),
]


async def test_what_is_not_imported_has_nobody_who_answers(one: Servers) -> None:
    before = await one.stored()
    for role, subject, body in FORBIDDEN:
        with pytest.raises(nats.errors.NoRespondersError):
            await one.ask(role, subject, body)
        if subject.startswith(API):  # by the name that it has in the account of the queue
            with contextlib.suppress(nats.errors.NoRespondersError):
                said = await one.ask(role, subject.replace(API, "$JS.API."), body)
                assert said["error"], (role, subject)
    assert await one.stored() == before


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
    one: Servers, filters: dict[str, object]
) -> None:
    """The request may name another stream or filter than its subject: the server compares them."""
    config = {"durable_name": "x", "name": "x", "ack_policy": "explicit", **filters}
    request = json.dumps({"stream_name": "KV_config", "config": config})
    said = await one.ask("delivery", f"{API}CONSUMER.CREATE.POSTROAD_Q_0.x.pr.q.0.>", request)
    assert said["error"]


async def test_the_operator_puts_no_mail_and_acknowledges_none(one: Servers) -> None:
    for subject in (READY, "$JS.ACK.POSTROAD_Q_0.default_x_p00.1.1.1.1.0"):
        await one.clients["operator"].publish(subject, b"x")
    await until_refused(one, "Publish Violation", 2)


async def test_nobody_listens_to_what_is_meant_for_others_or_answers_for_the_servers(
    one: Servers,
) -> None:
    for role, client in one.clients.items():
        others = [f"_INBOX_{other}.>" for other in ROLES if other != role]
        for subject in (">", "pr.>", "$KV.>", "_INBOX.>", "*.>", *others):
            await client.subscribe(subject)
        await client.publish(f"_INBOX_{role}.somebody", b"{}")
    await until_refused(one, "Subscription Violation", 8 * len(ROLES))
    await until_refused(one, "Publish Violation", len(ROLES))


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"user": "ingress", "pass": "wrong"},
        {"user": "ingress", "pass": password_of("command")},
    ],
)
async def test_without_its_password_nobody_comes_in(one: Servers, login: dict[str, str]) -> None:
    host, _, port = one.servers[0].url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert (await reader.readline()).startswith(b"INFO ")
    writer.write(f"CONNECT {json.dumps({'verbose': False, **login})}\r\nPING\r\n".encode())
    assert await reader.read() == b"-ERR 'Authorization Violation'\r\n"
    await hang_up(writer)
