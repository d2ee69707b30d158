"""A session counts for what its key allows: a role that lies about itself gets no lanes."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from postroad.spool.agreement import SessionInfo
from postroad.spool.jetstream.cluster.sessions.takers import encode
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import first, take

pytestmark = pytest.mark.nats

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
        (f"session.ingress.delivery.{SESSION.session_id}", SESSION),
    ],
    ids=["another role", "its own role", "another id", "another shape"],
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
