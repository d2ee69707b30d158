"""Idle sessions: reused while they are good, limited in number, and closed with QUIT."""

import asyncio

import pytest

from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pool import SessionPool
from postroad.policy.model import SiteLimits, TlsMode
from postroad.smtp_client.opening import open_session
from postroad.smtp_client.peer import Peer, Timeouts
from postroad.smtp_client.session import Session
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx

SITE = "mx.test"


async def opened(mx: ScriptedMx) -> Session:
    peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=TlsMode.NONE)
    return await open_session(peer, Timeouts())


async def gone(mx: ScriptedMx, left: int = 0) -> None:
    """Wait until the server has so many connections left."""
    async with asyncio.timeout(patient(5)):
        while mx.open_now > left:
            await asyncio.sleep(0)


async def test_the_session_used_last_is_handed_out_for_its_place_only() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool()
        first, second = await opened(mx), await opened(mx)
        assert pool.give("here", first, 0.0, under=(SITE,))
        assert pool.give("here", second, 1.0, under=(SITE,))
        assert pool.take("there", 2.0) is None
        assert pool.take("here", 2.0) is second
        assert pool.take("here", 2.0) is first
        assert pool.take("here", 2.0) is None


async def test_a_session_idle_for_too_long_is_not_handed_out() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool(idle=10)
        pool.give("here", await opened(mx), 0.0, under=(SITE,))
        assert pool.take("here", 10.0) is None
        await gone(mx)


async def test_a_session_whose_peer_hung_up_is_not_handed_out() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool()
        session = await opened(mx)
        pool.give("here", session, 0.0, under=(SITE,))
        mx.hang_up_on_all()
        async with asyncio.timeout(patient(5)):
            while session.reusable:
                await asyncio.sleep(0)
        assert pool.take("here", 1.0) is None
        assert not pool.give("here", session, 1.0, under=(SITE,))


async def test_idle_sessions_end_with_a_goodbye() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool(idle=10)
        pool.give("here", await opened(mx), 0.0, under=(SITE,))
        pool.give("here", await opened(mx), 5.0, under=(SITE,))
        assert pool.expired(9.9) == []
        [expired] = pool.expired(10.0)
        expired.hang_up()
        await gone(mx, left=1)
        assert mx.commands[-1] == b"QUIT"
        await pool.close()
        assert mx.commands.count(b"QUIT") == 2
        assert pool.take("here", 10.0) is None


@pytest.mark.parametrize(("per_place", "in_all"), [(2, 10), (10, 2)])
async def test_there_is_room_for_so_many(per_place: int, in_all: int) -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool(per_place=per_place, in_all=in_all)
        kept = [pool.give("here", await opened(mx), 0.0, under=(SITE,)) for _ in range(3)]
        assert kept == [True, True, False]
        assert pool.take("here", 1.0) is not None
        assert pool.give("here", await opened(mx), 1.0, under=(SITE,))


async def test_a_site_s_sessions_are_counted_over_all_its_places() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool()
        for place, site in (("a", "one"), ("b", "one"), ("b", "one"), ("c", "two")):
            pool.give(place, await opened(mx), 0.0, under=(site,))
        assert pool.surplus("one", 3) == []
        assert len(pool.surplus("one", 1)) == 2
        assert pool.surplus("one", 1) == []
        assert pool.surplus("two", 1) == []
        assert pool.surplus("three", 0) == []
        assert pool.take("c", 1.0) is not None
        assert pool.surplus("two", 0) == []


async def test_a_session_counts_at_its_site_until_its_connection_is_closed() -> None:
    async with ScriptedMx() as mx:
        pool = SessionPool(idle=10)
        kept, used = await opened(mx), await opened(mx)
        pool.give("here", kept, 0.0, under=(SITE,))
        pool.count_until_gone(used, under=(SITE,))
        assert pool.count(SITE) == 2
        [expired] = pool.expired(10.0)
        expired.hang_up()
        used.abort()
        assert pool.count(SITE) == 2, "a host counts them still"
        await asyncio.wait_for(asyncio.gather(kept.gone, used.gone), patient(5))
        assert pool.count(SITE) == 0


async def test_who_needs_room_waits_for_sessions_that_leave_for_another() -> None:
    """Two that begin at once, with two of another place kept where three may be open."""
    limiter = SiteLimiter(SiteLimits(connections=3))
    limiter.connections = 3  # theirs, and one more that is in use
    async with ScriptedMx() as mx:
        pool = SessionPool()
        for _ in range(2):
            pool.give("here", await opened(mx), 0.0, under=(SITE,))

        async def open_when_there_is_room() -> int:
            await pool.make_room({SITE: limiter})
            return mx.open_now

        both = asyncio.gather(open_when_there_is_room(), open_when_there_is_room())
        one, other = await asyncio.wait_for(both, patient(5))
        assert one == other == 0
