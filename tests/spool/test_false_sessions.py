"""A session counts for what its key allows: a role that lies about itself gets no lanes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from postroad.spool.agreement import SessionInfo
from postroad.spool.jetstream.cluster.sessions.takers import encode, read_sessions
from postroad.spool.jetstream.nats import direct_get
from postroad.spool.jetstream.nats.direct_get import Link, Page, StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import first, take

pytestmark = pytest.mark.nats

OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]

SESSION = SessionInfo(
    session_id="0" * 32,
    role="delivery",
    process="delivery-0",
    pool="default",
    generation=0,
    started=datetime(2026, 11, 30, tzinfo=UTC),
    taking=True,
)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (f"session.ingress.{SESSION.session_id}", SESSION),
        (f"session.ingress.{SESSION.session_id}", replace(SESSION, role="ingress")),
        ("session.delivery.other", SESSION),
    ],
    ids=["another role", "its own role", "another id"],
)
async def test_who_is_no_delivery_takes_no_lane(
    spool: JetStreamSpool,
    link: Link,
    key: str,
    told: SessionInfo,
) -> None:
    await link.jetstream.publish(f"$KV.presence.{key}", encode(told))
    consumer = take(spool)
    taking = asyncio.create_task(first(consumer, 1))
    async with asyncio.timeout(patient(10)):
        while len(consumer.lanes) < spool.layout.lanes:
            await asyncio.sleep(0.02)
    taking.cancel()
    await consumer.close()


async def test_who_is_a_delivery_gets_its_lanes(spool: JetStreamSpool, link: Link) -> None:
    key = f"session.delivery.{SESSION.session_id}"
    await link.jetstream.publish(f"$KV.presence.{key}", encode(SESSION))
    assert [each for each in await spool.sessions.live() if each.taking] == [SESSION]


ENDLESS = b'{"a":' * 50_000
TOO_LARGE = encode(SESSION).replace(b'"generation": 0', b'"generation": 1e999')
UNUSABLE = [
    *(b"", b"\xff", b"[]", b"5", b"null", b"[" * 100_000, ENDLESS, TOO_LARGE),
    encode(replace(SESSION, started=datetime(2026, 11, 30))),  # noqa: DTZ001 # as an intruder writes it
    *(encode(replace(SESSION, process=name)) for name in ("\ud800", "\x1b[2J", "p" * 100_000)),
    *(
        encode(replace(SESSION, generation=number))
        for number in (10**20, 10**4000, -(10**4000), -1)
    ),
    *(encode(replace(SESSION, **{name: -1})) for name in ("settled", "awaits")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("value", UNUSABLE, ids=range(len(UNUSABLE)))
async def test_a_session_of_any_octets_keeps_nobody_from_the_others(
    spool: JetStreamSpool, open_spool: OpenJetStream, link: Link, value: bytes
) -> None:
    """With one of these no process could start, and none took over the lanes of a dead one."""
    key = f"session.delivery.{SESSION.session_id}"
    await link.jetstream.publish(f"$KV.presence.{key}", value)
    other = await open_spool()
    assert {each.session_id for each in await spool.sessions.live()} == {
        spool.sessions.session_id,
        other.sessions.session_id,
    }


async def test_a_session_tells_of_as_many_streams_as_there_may_be(
    spool: JetStreamSpool, link: Link
) -> None:
    """Each process went through all that it named, every three seconds."""
    told = [(f"POSTROAD_{kind}_{n}", "x" * 500) for n in range(1000) for kind in "IQ"] * 2
    lying = replace(SESSION, refusing=tuple(told))
    await link.jetstream.publish(
        f"$KV.presence.session.delivery.{SESSION.session_id}", encode(lying)
    )
    [found] = [each for each in await spool.sessions.live() if each.refusing]
    assert found.refusing == tuple((stream, why[:200]) for stream, why in told[:500])


@pytest.mark.parametrize(("age", "counts"), [(timedelta(minutes=9), 2), (timedelta(hours=1), 1)])
async def test_a_session_that_was_stored_without_an_end_ends(
    monkeypatch: pytest.MonkeyPatch, age: timedelta, counts: int
) -> None:
    """The servers remove it after 18 s if its process says so, and else never."""
    now = datetime(2026, 11, 30, tzinfo=UTC)
    stored = [
        StoredMessage(f"$KV.presence.session.delivery.{name}", number, at, {}, value)
        for number, (name, at) in enumerate([("old", now - age), ("new", now)], 1)
        for value in [encode(replace(SESSION, session_id=name))]
    ]

    async def page(*_: object, **__: object) -> Page:
        return Page(stored, 0)

    monkeypatch.setattr(direct_get, "page", page)
    found, revision = await read_sessions(Bucket(cast(Link, None), "presence"))
    assert (len(found), revision) == (counts, 2)
