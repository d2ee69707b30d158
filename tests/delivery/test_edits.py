"""Objects change while their mail waits for its turn at a site."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from postroad.delivery.routing.router import Router
from postroad.delivery.routing.routes import NoRoute, Route
from postroad.delivery.sites.concurrency import INITIAL
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import (
    EgressPath,
    Smarthost,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send, waiting
from postroad_harness.setups.delivery.edits import (
    SLOW,
    TO,
    arrived,
    four_wait,
    in_force,
    to_smarthost,
)


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
