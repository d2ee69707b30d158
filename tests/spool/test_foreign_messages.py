"""
Messages that no process of ours has stored: with server headers, or under odd subjects.

Whoever may publish mail may store such a message. It must not stop others from listing their mail,
nor a process from reading its configuration. Its content is never trusted like the server's own
words.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import nats
import pytest

from postroad.spool.event import Event, EventType
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Held, Put
from postroad.spool.jetstream.nats.direct_get import Link, last_on, page
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.event import encode_events
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now, record, store

pytestmark = pytest.mark.nats

DAY = timedelta(days=1)
# "503" alone would be taken for "nobody is there", "404" and "204" for the end of a page.
STATUSES = ["409", "404", "204", "503", "100", "odd"]
FIRST_LINES = [
    *(b"NATS/1.0 404 No Messages", b"NATS/1.0 204 EOB", b"NATS/1.1 503", b"12345678404"),
    *(b"XATS/1.0 \xff\xff", b"", b"A: b"),
]
FORGED = {"Nats-Sequence": "999", "Nats-Subject": "pr.q.0.h.x.y.z", "Nats-Num-Pending": "7"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path) as server:
        await provision(SpoolOptions((server.url,), role="operator"), layout=Layout(1, 2, 1))
        yield server


@pytest.fixture
async def spool(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    opened = await connect(SpoolOptions((server.url,)))
    yield opened
    await opened.close()


async def hold(spool: JetStreamSpool, domain: str) -> None:
    held = record(new_queue_id(now(), 0), f"b@{domain}", 0)
    await store(spool, [Put(held, Held(now() + DAY))])


async def publish(server: NatsServer, subject: str, headers: dict[str, str] | None = None) -> None:
    client = await nats.connect(server.url)
    try:
        await client.jetstream().publish(subject, b"", headers=headers)
    finally:
        await client.close()


async def held(spool: JetStreamSpool) -> list[str]:
    selection = Selection(kinds=frozenset({WaitKind.HELD}))
    return [queued.record.domain async for queued in spool.waiting.list(selection, at_once=2)]


@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_in_a_stored_message_ends_no_listing(
    server: NatsServer, spool: JetStreamSpool, status: str
) -> None:
    await hold(spool, "first.example")
    headers = FORGED | {"Status": status, "Description": "No Messages"}
    await publish(server, "pr.q.0.h.l0.odd_example.x", headers)
    await hold(spool, "last.example")
    assert await held(spool) == ["first.example", "last.example"]
    assert (await spool.waiting.backlog()).held == 3


@pytest.mark.parametrize("line", FIRST_LINES)
async def test_a_first_line_like_the_servers_own_ends_no_listing(
    spool: JetStreamSpool, link: Link, line: bytes
) -> None:
    """It hid all messages behind it: sessions of others, their mail, the use of quotas."""
    subject = "pr.q.0.h.l0.odd_example.x"
    await hold(spool, "first.example")
    link.client.post(subject, b"", header=line + b"\r\nNats-Subject: y\r\n\r\n")
    async with asyncio.timeout(patient(5)):
        while (last := await last_on(link, "POSTROAD_Q_0", subject)) is None:
            await asyncio.sleep(0.02)
    await hold(spool, "last.example")
    assert await held(spool) == ["first.example", "last.example"]
    assert (last.subject, last.sequence) == (subject, 2)


@pytest.mark.parametrize("status", STATUSES)
async def test_a_stored_message_is_read_with_the_servers_own_sequence_and_subject(
    server: NatsServer, link: Link, status: str
) -> None:
    subject = "pr.q.0.h.l0.odd_example.x"
    await publish(server, "pr.q.0.h.l0.odd_example.before")
    await publish(server, subject, FORGED | {"Status": status})
    last = await last_on(link, "POSTROAD_Q_0", subject)
    found = await page(link, "POSTROAD_Q_0", subject)
    assert last is not None
    assert (last.subject, last.sequence, last.headers["Status"]) == (subject, 2, status)
    assert ([each.sequence for each in found.messages], found.pending) == ([2], 0)


@pytest.mark.parametrize(
    "subject",
    [
        "pr.q.0.z.x",
        "pr.q.0.r.short",
        "pr.q.0.r.p.odd.l.d",
        "pr.i.0.z.p.x.p00.d",
    ],
)
async def test_a_subject_of_another_form_spoils_no_figures(
    server: NatsServer, spool: JetStreamSpool, subject: str
) -> None:
    await hold(spool, "d.example")
    await publish(server, subject)
    assert [(*key, tally.number) for key, tally in (await spool.waiting.counts()).items()] == [
        (WaitKind.HELD, None, "d.example", 1)
    ]
    backlog = await spool.waiting.backlog()
    assert (backlog.ready, backlog.held) == ({}, 1)
    assert await spool.waiting.ready_pools() == frozenset()


async def test_an_event_counts_only_under_the_subject_of_its_type(
    spool: JetStreamSpool, link: Link
) -> None:
    """Who accepts mail may write that it was accepted, and not that it was delivered."""
    told = [Event(type=kind, at=now()) for kind in (EventType.DELIVERY, EventType.RECEPTION)]
    await link.jetstream.publish("pr.e.Reception", encode_events(told))
    assert [each.type async for each in spool.events.read()] == [EventType.RECEPTION]
