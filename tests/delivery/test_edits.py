"""Objects change while their mail waits for its turn at a site."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.delivery.routing.router import Router
from postroad.delivery.routing.routes import NoRoute, Route
from postroad.delivery.sites.concurrency import INITIAL
from postroad.mail.traffic import TrafficClass
from postroad.policy.limits.slices import decode
from postroad.policy.model import (
    Credentials,
    EgressPath,
    Rate,
    SiteLimits,
    Smarthost,
    Source,
    TlsMode,
)
from postroad.spool.agreement import SiteKind
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes import delivery
from postroad.testing.processes.delivery import delivering, history, publish, send, waiting
from postroad.testing.queue.queued_mail import first

HOUR = timedelta(hours=1)
SLOW = SiteLimits(message_rate=Rate(1, HOUR))  # one goes, and the others wait
FREE = SiteLimits()
TO = [f"{number}@y.example" for number in range(5)]


def to_smarthost(
    mx: ScriptedMx, limits: SiteLimits = FREE, name: str = "relay:shop/a"
) -> EgressPath:
    return replace(delivery.to_smarthost(mx), name=name, limits=limits)


async def arrived(mx: ScriptedMx, count: int) -> list[bytes]:
    """Wait for so many messages, and return for whom they are."""
    messages = await asyncio.wait_for(mx.received(count), patient(10))
    return sorted(message.recipients[0].removeprefix(b"RCPT TO:") for message in messages)


async def in_force(spool: MemorySpool) -> None:
    """Wait until each process has what was published last."""
    state = await spool.config.last()
    assert state is not None
    async with asyncio.timeout(patient(10)):
        while any(each.generation < state.generation for each in await spool.sessions.live()):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def four_wait(spool: MemorySpool, **egress_paths: EgressPath) -> AsyncIterator[None]:
    """Send five messages, of which four wait for the next hour, with a process that has them."""
    await publish(spool, **egress_paths)
    await send(spool, *TO)
    async with delivering(spool):
        await history(spool, EventType.DELIVERY)
        yield


async def test_mail_that_waits_at_a_smarthost_that_is_withdrawn_goes_to_the_new_one() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as before, ScriptedMx() as after:
        async with four_wait(spool, anywhere=to_smarthost(before, SLOW)):
            await publish(spool, anywhere=to_smarthost(after))
            rest = await arrived(after, 4)
            await history(spool, EventType.DELIVERY, 5)
        assert len(before.messages) == 1
        assert len({*rest, *await arrived(before, 1)}) == 5
    assert await waiting(spool) == []


async def test_connections_that_are_stuck_at_a_withdrawn_smarthost_hold_up_no_other() -> None:
    stuck = asyncio.Event()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            if count == INITIAL - 1:
                stuck.set()
            return SILENCE
        return None

    spool = MemorySpool()
    to = [f"{number}@y.example" for number in range(INITIAL + 3)]
    async with ScriptedMx(script) as before, ScriptedMx() as after:
        await publish(spool, anywhere=to_smarthost(before))
        await send(spool, *to)
        async with delivering(spool, finish=0):
            await asyncio.wait_for(stuck.wait(), patient(10))
            await publish(spool, anywhere=to_smarthost(after))
            await arrived(after, 3)
    assert [kind for kind, _ in await waiting(spool)] == [WaitKind.READY] * INITIAL


async def test_mail_that_stays_as_smarthosts_change_one_by_one_is_not_lost_sight_of() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as one, ScriptedMx() as two:
        first_way, last_way = (to_smarthost(mx, SLOW) for mx in (one, two))
        both = replace(first_way, smarthosts=first_way.smarthosts + last_way.smarthosts)
        async with four_wait(spool, anywhere=first_way):
            for egress_path in (both, last_way):
                await publish(spool, anywhere=egress_path)
                await in_force(spool)
            await send(spool, "new@y.example")
            await asyncio.sleep(0.1)  # it waits, too
            await publish(spool, anywhere=to_smarthost(two))
            await history(spool, EventType.DELIVERY, 6)
    assert (len(one.messages), len(two.messages)) == (1, 5)


async def test_other_smarthosts_are_sent_no_more_than_the_rate_of_their_relay() -> None:
    spool = MemorySpool()
    two = SiteLimits(message_rate=Rate(2, HOUR))
    async with ScriptedMx() as before, ScriptedMx() as after:
        async with four_wait(spool, anywhere=to_smarthost(before, SLOW)):
            await publish(spool, anywhere=to_smarthost(after, two))
            await history(spool, EventType.DELIVERY, 2)
            await publish(spool, anywhere=to_smarthost(before, two))
            await asyncio.sleep(0.3)  # in which the others would go
        assert (len(before.messages), len(after.messages)) == (1, 1)


async def test_mail_that_waits_by_a_relay_that_is_deleted_goes_by_the_next_that_suits() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as special, ScriptedMx() as general:
        anywhere = to_smarthost(general, name="relay:shop/b")
        async with four_wait(spool, y_example=to_smarthost(special, SLOW), anywhere=anywhere):
            await publish(spool, anywhere=anywhere)
            await arrived(general, 4)
            await history(spool, EventType.DELIVERY, 5)
        assert len(special.messages) == 1
        assert len(general.messages) == 4
    assert await waiting(spool) == []


async def test_mail_that_waits_and_has_no_way_out_any_more_is_deferred_like_new_mail() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        async with four_wait(spool, y_example=to_smarthost(mx, SLOW)):
            await publish(spool, z_example=to_smarthost(mx))
            events = await history(spool, EventType.TRANSIENT_FAILURE, 4)
        assert {event.reply for event in events} == {"no route to recipient"}
        assert len(mx.messages) == 1
    assert [kind for kind, _ in await waiting(spool)] == [WaitKind.DEFERRED] * 4


async def test_mail_that_comes_while_its_relay_is_replaced_goes_out_soon_after() -> None:
    """It takes the five seconds after which the mail comes back, not the default first retry."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, other_example=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example")
            await history(spool, EventType.TRANSIENT_FAILURE)
            await publish(spool, anywhere=to_smarthost(mx))
            [event] = await history(spool, EventType.DELIVERY)
    assert (event.attempt, len(mx.messages)) == (1, 1)


@pytest.mark.parametrize("rate", [None, Rate(100, HOUR)], ids=["none", "higher"])
async def test_a_rate_that_is_raised_lets_what_waits_go_on(rate: Rate | None) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        async with four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
            await publish(spool, anywhere=to_smarthost(mx, SiteLimits(message_rate=rate)))
            await history(spool, EventType.DELIVERY, 5)
        assert len(await arrived(mx, 5)) == 5


async def test_a_next_start_that_comes_nearer_is_not_waited_for_as_long_as_before() -> None:
    spool = MemorySpool()
    soon = SiteLimits(message_rate=Rate(1, timedelta(seconds=0.5)))
    async with ScriptedMx() as mx, four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
        await publish(spool, anywhere=to_smarthost(mx, soon))
        await history(spool, EventType.DELIVERY, 3)


async def test_connections_that_are_fewer_hold_for_what_waits_too() -> None:
    open_then: list[int] = []

    def script(line: bytes, count: int) -> None:
        if line == b".":
            open_then.append(mx.open_now)

    spool = MemorySpool()
    mx = ScriptedMx(script, slowness=0.1)
    async with mx:
        await publish(spool, anywhere=to_smarthost(mx, SiteLimits(connections=5)))
        await send(spool, *(f"{number}@y.example" for number in range(20)))
        async with delivering(spool):
            await arrived(mx, 5)
            await publish(spool, anywhere=to_smarthost(mx, SiteLimits(connections=1)))
            await history(spool, EventType.DELIVERY, 20)
    assert max(open_then) == 5
    assert set(open_then[15:]) == {1}


async def test_a_rate_that_is_raised_ends_the_wait_for_what_another_process_has_used() -> None:
    cluster = MemoryCluster()
    gone, heir = MemorySpool(cluster), MemorySpool(cluster)
    window = "relay:shop/a relay:shop/a"
    async with ScriptedMx() as mx:
        async with four_wait(gone, anywhere=to_smarthost(mx, SLOW)):
            pass
        async with delivering(heir):
            async with asyncio.timeout(patient(10)):
                while not decode(cluster.agreement.site_records[SiteKind.WINDOW, window]).line:
                    await asyncio.sleep(0.01)
            rate = Rate(100, HOUR)
            await publish(heir, anywhere=to_smarthost(mx, SiteLimits(message_rate=rate)))
            await history(heir, EventType.DELIVERY, 5)


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


FindRoute = Callable[[Router, EgressPath, str, TrafficClass, str], Awaitable[Route | NoRoute]]


async def test_a_relay_that_is_edited_while_hosts_are_looked_up_is_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    found: FindRoute = Router.find

    async def slowly(
        self: Router, egress_path: EgressPath, domain: str, kind: TrafficClass, sender: str
    ) -> Route | NoRoute:
        asked.set()
        await answer.wait()
        return await found(self, egress_path, domain, kind, sender)

    monkeypatch.setattr(Router, "find", slowly)
    spool = MemorySpool()
    async with ScriptedMx() as before, ScriptedMx() as after:
        await publish(spool, anywhere=to_smarthost(before))
        async with delivering(spool):
            await send(spool, "b@y.example")
            await asyncio.wait_for(asked.wait(), patient(5))
            await publish(spool, anywhere=to_smarthost(after))
            await in_force(spool)
            answer.set()
            await arrived(after, 1)
    assert before.messages == []


async def test_mail_whose_connection_was_refused_after_an_edit_goes_by_the_new_relay() -> None:
    """Where others work at a site, it would wait there again, for as long as they take."""
    opened: list[asyncio.StreamWriter] = []
    second, edited = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        if len(opened) == 2:
            second.set()
            await edited.wait()
            writer.write(b"421 4.7.0 too many connections\r\n")
        await reader.read()
        writer.close()

    spool = MemorySpool()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, ScriptedMx() as after:
        hosts = (Smarthost("127.0.0.1", port),)
        await publish(spool, anywhere=replace(to_smarthost(after), smarthosts=hosts))
        await send(spool, *TO[:2])
        async with delivering(spool, finish=0):
            await asyncio.wait_for(second.wait(), patient(5))
            await publish(spool, anywhere=to_smarthost(after))
            await in_force(spool)
            edited.set()
            await arrived(after, 1)


async def test_mail_that_waits_goes_by_no_relay_while_another_cannot_be_read() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx, four_wait(spool, anywhere=to_smarthost(mx, SLOW)):
        state = await spool.config.last()
        assert state is not None
        await spool.config.publish({**state.entries, "relay.shop.newer": b"{}"})
        async with asyncio.timeout(patient(10)):
            while {kind for kind, _ in await waiting(spool)} != {WaitKind.DEFERRED}:
                await asyncio.sleep(0.01)
