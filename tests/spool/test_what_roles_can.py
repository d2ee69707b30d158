"""
What docs/security.md says that a compromised process of a role can do, it really can.

A page that tells too little of that is as wrong as one that promises too much: it hides what to
watch. What the code of each role does is in test_permissions; here is what only an intruder does.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.interface import LeasedRecord
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.record import Origin
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role
from postroad.testing.queue.queued_mail import QUICK, first, now, put, record, take
from postroad.testing.queue.walls import Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
API = f"{API_PREFIX}."


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Servers]:
    async with walled(tmp_path, ACCOUNTS, replicas=1) as servers:
        yield servers


NEW_MAIL = "pr.i.0.r.default.b.p00.y_example"
STORED = [  # who may store it, under which subject, in which stream
    ("ingress", NEW_MAIL, "POSTROAD_I_0"),
    ("ingress", "$KV.presence.session.ingress.x", "KV_presence_ingress"),
    ("ingress", "$KV.quotas.x", "KV_quotas"),
    ("ingress", "$KV.quotas.login.x", "KV_quotas"),
    *(("ingress", f"pr.e.{kind}", "POSTROAD_EVENTS") for kind in ("Reception", "Rejection")),
    ("delivery", "pr.e.Delivery", "POSTROAD_EVENTS"),
    ("delivery", "pr.q.0.r.default.bulk.p00.y_example", "POSTROAD_Q_0"),
    *((role, "pr.d.0.x.0", "POSTROAD_BODY_0") for role in ("ingress", "delivery")),
    ("delivery", "$KV.presence.owner.default.p00", "KV_presence"),
    ("delivery", "$KV.sites.y=2Eexample", "KV_sites"),
    ("delivery", "$KV.suppression.x", "KV_suppression"),
    ("delivery", "$KV.cluster.report.x.y", "KV_cluster"),
    ("command", "$KV.cluster.order.x", "KV_cluster"),
    *(("operator", f"$KV.cluster.{key}", "KV_cluster") for key in ("order.x", "meta")),
    ("operator", "$KV.config.entry.relay", "KV_config"),
]
STATE = (
    *("KV_config", "KV_cluster", "KV_presence", "KV_presence_ingress"),
    *("KV_quotas", "KV_sites", "KV_suppression"),
)
MAIL = ("POSTROAD_I_0", "POSTROAD_Q_0", "POSTROAD_BODY_0", "POSTROAD_EVENTS")
READ = [
    *(("ingress", stream) for stream in STATE),
    *(("delivery", stream) for stream in (*STATE, *MAIL)),
    *(("command", stream) for stream in (*STATE[1:], *MAIL)),
]


async def test_a_role_stores_and_reads_what_the_page_says(one: Servers) -> None:
    for role, subject, stream in STORED:
        said = await one.ask(role, subject, "x")
        assert said.get("stream") == stream, (role, subject, said)
    for role, stream in READ:
        request = json.dumps({"seq": 1, "next_by_subj": ">"}).encode()
        answer = await one.clients[role].request(
            f"{API}DIRECT.GET.{stream}", request, timeout=patient(5)
        )
        assert (answer.headers or {}).get("Nats-Stream") == stream, (role, stream)
        assert answer.data, (role, stream)


async def test_ingress_puts_in_mail_in_the_name_of_anybody(one: Servers) -> None:
    forged = Origin(client="bank/till", namespace="bank")
    delivery = await connect(as_role("delivery", one.servers[0].url, timings=QUICK))
    mail = record(new_queue_id(now(), 0), "victim@y.example", origin=forged)
    subject = intake_subject(0, mail, delivery.lane_of(mail))
    await one.clients["ingress"].request(subject, encode(mail), timeout=patient(5))
    consumer = take(delivery)
    [leased] = await first(consumer, 1)
    assert leased.record.origin == forged
    await consumer.settle(leased)
    await consumer.close()
    await delivery.close()


async def test_a_session_that_another_process_of_its_role_ends_is_written_again(
    one: Servers,
) -> None:
    ingress = await connect(as_role("ingress", one.servers[0].url, timings=QUICK))
    key = f"$KV.presence.session.ingress.{ingress.sessions.session_id}"

    async def last() -> tuple[str, bytes]:
        subject = f"{API}DIRECT.GET.KV_presence_ingress.{key}"
        found = await one.clients["command"].request(subject, b"", timeout=patient(5))
        return (found.headers or {}).get("KV-Operation", ""), found.data

    client = one.clients["ingress"]
    await client.request(key, b"", headers={"KV-Operation": "DEL"}, timeout=patient(5))
    assert await last() == ("DEL", b"")
    async with asyncio.timeout(patient(5)):
        while b'"role": "ingress"' not in (await last())[1]:
            await asyncio.sleep(0.02)
    await ingress.close()


async def test_delivery_ends_mail_that_waits_and_mail_that_it_takes(one: Servers) -> None:
    ingress, delivery = [
        await connect(as_role(role, one.servers[0].url, timings=QUICK))
        for role in ("ingress", "delivery")
    ]
    await put(ingress)
    consumer = take(delivery)
    taken: list[LeasedRecord] = await first(consumer, 1)
    await consumer.settle(taken[0])
    await consumer.close()
    waiting = "pr.q.0.s.p00.y_example.x"
    sequence = (await one.ask("delivery", waiting, "x"))["seq"]
    said = await one.ask(
        "delivery", f"{API}STREAM.MSG.DELETE.POSTROAD_Q_0", json.dumps({"seq": sequence})
    )
    assert said["success"]
    kinds = ("POSTROAD_I_", "POSTROAD_Q_")
    assert [key for key in await one.stored() if key[0].startswith(kinds)] == []
    for each in (ingress, delivery):
        await each.close()


async def test_the_operator_does_with_the_streams_what_the_servers_allow(one: Servers) -> None:
    await one.ask("delivery", "pr.q.0.z.x", "x")
    sequence = (await one.ask("ingress", NEW_MAIL, "x"))["seq"]
    assert (await one.ask("operator", "$JS.API.STREAM.PURGE.POSTROAD_I_0"))["error"]
    for what, body in [
        ("STREAM.MSG.GET.POSTROAD_I_0", json.dumps({"seq": sequence})),
        ("STREAM.MSG.DELETE.POSTROAD_I_0", json.dumps({"seq": sequence})),
        ("STREAM.PURGE.POSTROAD_Q_0", ""),
        ("STREAM.DELETE.POSTROAD_I_0", ""),
        ("STREAM.CREATE.POSTROAD_Q_9", '{"name": "POSTROAD_Q_9", "subjects": ["pr.q.9.>"]}'),
        ("STREAM.NAMES", ""),
    ]:
        said = await one.ask("operator", f"$JS.API.{what}", body)
        assert "error" not in said, (what, said)


async def test_who_has_the_files_of_a_server_reads_the_mail(one: Servers, tmp_path: Path) -> None:
    ingress = await connect(as_role("ingress", one.servers[0].url, timings=QUICK))
    await put(ingress, content=b"Subject: a very private subject\r\n\r\n")
    await ingress.close()
    blocks = [file.read_bytes() for file in tmp_path.rglob("*.blk")]
    assert any(b"a very private subject" in block for block in blocks)
