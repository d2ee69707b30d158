"""A worker that drains, leaves lanes or fails: the records in its hand are not lost."""

import asyncio

import pytest

from postroad.delivery.attempt.attempt import Attempt
from postroad.delivery.routing.router import Router
from postroad.delivery.routing.routes import NoRoute, Route
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath
from postroad.spool.event import EventType
from postroad.spool.memory.consumer import MemoryConsumer
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import WaitKind
from postroad.telemetry.metrics import REGISTRY
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    delivering,
    history,
    publish,
    send,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import first


async def test_a_drain_finishes_what_is_being_sent_and_gives_the_rest_back() -> None:
    draining: list[asyncio.Task[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA" and count == 0:
            draining.append(asyncio.create_task(worker.drain(seconds=5)))
        return None

    spool = MemorySpool()
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(5)))
        async with delivering(spool) as (worker, _):
            await history(spool, EventType.DELIVERY)
            await asyncio.wait_for(draining[0], patient(5))
        assert len(mx.messages) == 1
        assert [kind for kind, _ in await waiting(spool)] == [WaitKind.READY] * 4
        async with delivering(spool):
            await asyncio.wait_for(mx.received(5), patient(5))
    assert await waiting(spool) == []


async def test_a_drain_does_not_wait_for_what_finds_its_hosts_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    found = Router.find

    async def slowly(
        self: Router, egress_path: EgressPath, domain: str, kind: TrafficClass, sender: str
    ) -> Route | NoRoute:
        asked.set()
        await answer.wait()
        return await found(self, egress_path, domain, kind, sender)

    monkeypatch.setattr(Router, "find", slowly)
    spool = MemorySpool()
    spool.store.lanes = 1  # else it would be moved to its site's lane
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        async with delivering(spool) as (worker, _):
            await asyncio.wait_for(asked.wait(), patient(5))
            draining = asyncio.create_task(worker.drain(seconds=60))
            await asyncio.sleep(0)  # it has begun
            answer.set()
            await asyncio.wait_for(draining, patient(5))
        assert mx.messages == []
    assert await waiting(spool) == [(WaitKind.READY, "b@y.example")]


async def test_what_waits_of_a_lane_is_left_to_its_next_owner() -> None:
    """Scaling out must not let a site have one worker's connections and another's besides."""
    spool = MemorySpool()
    spool.store.lanes = 1
    last, joined = asyncio.Event(), list[MemoryConsumer]()

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA" and count == 0:
            # Of two takers this lane is the second's; one of them has to be first.
            joined.append(spool.take(pool="default", room=100, room_bytes=10_000_000))
            last.set()
        return None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(5)))
        async with delivering(spool):
            await history(spool, EventType.DELIVERY)
            await asyncio.wait_for(last.wait(), patient(5))
            leased = await asyncio.wait_for(first(joined[0], 4), patient(5))
        assert len(mx.messages) == 1
        assert len({each.record.record_id for each in leased}) == 4
        await joined[0].close()


async def test_a_record_whose_lane_is_left_while_its_hosts_are_looked_up_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spool = MemorySpool()
    spool.store.lanes = 1
    joined: list[MemoryConsumer] = []
    found = Router.find

    async def slowly(
        self: Router, egress_path: EgressPath, domain: str, kind: TrafficClass, sender: str
    ) -> Route | NoRoute:
        # Of two takers this lane is the second's.
        joined.append(spool.take(pool="default", room=100, room_bytes=10_000_000))
        return await found(self, egress_path, domain, kind, sender)

    monkeypatch.setattr(Router, "find", slowly)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await send(spool, "b@y.example")
        async with delivering(spool):
            async with asyncio.timeout(patient(5)):
                while not joined:
                    await asyncio.sleep(0)
                [leased] = await first(joined[0], 1)
        assert mx.messages == []
        assert str(leased.record.recipients[0].mailbox) == "b@y.example"
        await joined[0].close()


async def test_a_record_whose_lease_is_in_doubt_is_dropped_unsent() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        assert isinstance(consumer, MemoryConsumer)
        consumer.stale = True  # as the session opens
        return None

    spool = MemorySpool()
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool) as (_, consumer):
            await send(spool, "b@y.example")
            async with asyncio.timeout(patient(5)):
                while mx.connections == 0 or mx.open_now:
                    await asyncio.sleep(0)
        assert mx.messages == []
        assert await waiting(spool) == [(WaitKind.READY, "b@y.example")], "it comes again"


async def test_an_error_of_ours_is_a_deferral(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(attempt: Attempt) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Attempt, "run", broken)
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [event] = await history(spool, EventType.TRANSIENT_FAILURE)
        assert event.reply == "local error"
        assert "bug" not in str(event), "the log has the cause, the history does not"
        assert await waiting(spool) == [(WaitKind.DEFERRED, "b@y.example")]


async def test_what_finds_no_room_at_its_site_is_parked_and_not_lost() -> None:
    def parked() -> float:
        return REGISTRY.get_sample_value("postroad_delivery_parked_total") or 0.0

    spool, before = MemorySpool(), parked()
    async with ScriptedMx(slowness=0.3) as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *(f"{n}@y.example" for n in range(6)))
        async with delivering(spool, room=4):
            messages = await asyncio.wait_for(mx.received(6), patient(15))
        assert len({message.recipients[0] for message in messages}) == 6
    assert parked() > before
    assert await waiting(spool) == []
