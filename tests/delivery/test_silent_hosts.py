"""Hosts that accept a connection and then are silent, in any phase: other mail goes on."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.delivery.sites import pace
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, RetrySchedule, SiteLimits, Smarthost, TlsMode
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send, waiting

LATER = RetrySchedule(first=timedelta(hours=1))


def through(name: str, mx: ScriptedMx) -> EgressPath:
    host = Smarthost("127.0.0.1", mx.port)
    return EgressPath(f"relay:shop/{name}", (host,), tls=TlsMode.NONE, retry=LATER)


def silent_in(phase: str) -> ScriptedMx:
    if phase == "greeting":
        return ScriptedMx(greeting=SILENCE)
    return ScriptedMx(lambda line, _: SILENCE if line.startswith(phase.encode()) else None)


@pytest.mark.parametrize("phase", ["greeting", "EHLO", "MAIL", "."])
@pytest.mark.parametrize(("sites", "mails"), [(2, 400), (50, 30)])
async def test_mail_for_other_sites_goes_on(phase: str, sites: int, mails: int) -> None:
    spool = MemorySpool()
    names = [f"mute{number}" for number in range(sites)]
    async with ScriptedMx() as good, silent_in(phase) as mute:
        egress_paths = {f"{name}_test": through(name, mute) for name in names}
        await publish(spool, good_test=through("good", good), **egress_paths)
        async with delivering(spool, room=300, finish=0.1):
            await send(spool, *(f"{n}@{name}.test" for n in range(mails) for name in names))
            async with asyncio.timeout(patient(20)):
                await mute.met(sites)
                await send(spool, *(f"{n}@good.test" for n in range(10)))
                await good.received(10)
        assert not mute.messages


def hanging_in(phase: str, fell_silent: asyncio.Event, hanging: list[bytes]) -> ScriptedMx:
    """Return a host that is fast until it falls silent, and then is silent in a phase."""

    def script(line: bytes, _: int) -> bytes | None:
        if not fell_silent.is_set() or not line.startswith(phase.encode()):
            return None
        hanging.append(line)
        return SILENCE

    return ScriptedMx(script)


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("kinds", [[TrafficClass.TRANSACTIONAL], list(TrafficClass)])
async def test_mail_for_other_sites_goes_on_when_fast_ones_fall_silent(
    phase: str, kinds: list[TrafficClass], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    They had as many attempts as there are places, and kept them for minutes.

    It takes as long as a site may say nothing before it counts as silent.
    """
    monkeypatch.setattr(pace, "QUICK", 3.0)  # ten seconds
    spool = MemorySpool()
    names = [f"mute{number}" for number in range(30)]
    fell_silent, hanging = asyncio.Event(), list[bytes]()
    async with ScriptedMx() as good, hanging_in(phase, fell_silent, hanging) as mute:
        egress_paths = {f"{name}_test": through(name, mute) for name in names}
        await publish(spool, good_test=through("good", good), **egress_paths)
        async with delivering(spool, room=150, finish=0.1), asyncio.timeout(patient(30)):
            await send(spool, "first@good.test")
            await send(spool, *(f"{n}@{name}.test" for n in range(6) for name in names))
            await good.received(1)
            await mute.received(180)
            fell_silent.set()
            for kind in kinds:
                mails = (f"{n}@{name}.test" for n in range(8) for name in names)
                await send(spool, *mails, traffic_class=kind)
            await send(spool, *(f"{n}@good.test" for n in range(10)))
            await good.received(11)
            assert len(hanging) <= 75, "half of the places; a third, and some first attempts"
        assert len(mute.messages) == 180


async def test_large_mail_for_silent_sites_leaves_octets_to_others() -> None:
    spool = MemorySpool()
    large = b"Subject: large\r\n\r\n" + b"x" * 100_000
    async with ScriptedMx() as good, silent_in("greeting") as mute:
        await publish(
            spool,
            good_test=through("good", good),
            mute1_test=through("mute1", mute),
            mute2_test=through("mute2", mute),
        )
        async with delivering(spool, room=300, room_bytes=3_000_000, finish=0.1):
            names = [f"{n}@mute{site}.test" for n in range(100) for site in (1, 2)]
            await send(spool, *names, content=large)
            async with asyncio.timeout(patient(20)):
                await mute.met(10)
                await send(spool, *(f"{n}@good.test" for n in range(10)))
                await good.received(10)
        assert not mute.messages


async def test_transactional_is_not_put_off_where_bulk_fills_its_sites_room() -> None:
    """Four seconds, as a site is given three to show that it is fast."""
    spool = MemorySpool()
    async with silent_in("greeting") as mute:
        one = replace(through("mute", mute), limits=SiteLimits(connections=1))
        await publish(spool, anywhere=one)
        async with delivering(spool, room=40, finish=0.1):
            names = (f"{n}@mute.test" for n in range(30))
            await send(spool, *names, traffic_class=TrafficClass.BULK)
            await until_put_off(spool, 28)
            await send(spool, "transactional@mute.test")
            await until_put_off(spool, 29)
            assert (WaitKind.READY, "transactional@mute.test") in await waiting(spool)


async def until_put_off(spool: MemorySpool, count: int) -> None:
    """Wait until so many records wait for their time."""
    async with asyncio.timeout(patient(20)):
        while [kind for kind, _ in await waiting(spool)].count(WaitKind.DEFERRED) != count:
            await asyncio.sleep(0.01)
