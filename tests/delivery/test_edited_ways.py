"""TLS, logins, sources and pools change while mail waits for its turn at a site."""

import asyncio
import ssl
from dataclasses import replace

import pytest

from postroad.policy.model import (
    Credentials,
    SiteLimits,
    Source,
    TlsMode,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad.testing.queue.queued_mail import first
from postroad_harness.setups.delivery.edits import FREE, SLOW, TO, four_wait, to_smarthost


async def test_a_kept_connection_with_a_withdrawn_login_is_not_used() -> None:
    spool = MemorySpool()
    first, second = Credentials("shop", "first"), Credentials("shop", "second")
    async with ScriptedMx(extensions=("PIPELINING", "AUTH PLAIN")) as mx:
        before = replace(to_smarthost(mx, SLOW), credentials=first)
        async with four_wait(spool, anywhere=before):
            one_at_a_time = SiteLimits(connections=1)
            await publish(
                spool, anywhere=replace(to_smarthost(mx, one_at_a_time), credentials=second)
            )
            await history(spool, EventType.DELIVERY, 5)
    said = [line.split()[0] for line in mx.commands if line.split()[0] in (b"AUTH", b"MAIL")]
    assert said == [b"AUTH", b"MAIL", b"AUTH", *[b"MAIL"] * 4]


async def test_a_kept_connection_in_clear_is_not_used_once_tls_is_demanded(
    mx_tls: ssl.SSLContext,
) -> None:
    spool = MemorySpool()
    async with ScriptedMx(tls=mx_tls) as mx, four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
        await publish(spool, anywhere=replace(to_smarthost(mx), tls=TlsMode.REQUIRED))
        await history(spool, EventType.DELIVERY, 5)
    assert [message.tls for message in mx.messages] == [False, True, True, True, True]


async def test_what_waits_is_sent_from_a_source_that_there_is_now() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        old, new = (Source(name, "127.0.0.1", f"{name}.test") for name in ("old", "new"))
        async with four_wait(spool, anywhere=replace(to_smarthost(mx, SLOW), sources=(old,))):
            await publish(spool, anywhere=replace(to_smarthost(mx), sources=(new,)))
            await history(spool, EventType.DELIVERY, 5)
    said = [line for line in mx.commands if line.startswith(b"EHLO")]
    assert said[0] == b"EHLO old.test"
    assert set(said[1:]) == {b"EHLO new.test"}


@pytest.mark.parametrize("lane_moves", [0, 1])
async def test_what_waits_goes_to_the_pool_that_it_is_sent_from_now(lane_moves: int) -> None:
    """Also what was moved to this pool's lanes before: the other pool counts what is its own."""
    cluster = MemoryCluster()
    here, there = (MemorySpool(cluster, pool=pool) for pool in ("default", "other"))
    other = there.take(pool="other", room=10, room_bytes=10_000_000)
    async with ScriptedMx() as mx:
        egress_path = to_smarthost(mx, SLOW)
        await publish(here, anywhere=egress_path)
        await send(here, *TO, lane_moves=lane_moves)
        async with delivering(here):
            await history(here, EventType.DELIVERY)
            await publish(here, anywhere=replace(egress_path, pool="other", limits=FREE))
            leased = await asyncio.wait_for(first(other, 4), patient(10))
        assert {each.record.pool for each in leased} == {"other"}
        assert len({each.record.record_id for each in leased}) == 4
        assert len(mx.messages) == 1
    await other.close()
