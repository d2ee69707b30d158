"""Hosts that accept and say nothing, in whatever phase: mail for others goes on."""

import asyncio
from datetime import timedelta

import pytest

from postroad.policy.model import RetrySchedule, Smarthost, TlsMode, WayOut
from postroad.spool.memory import MemorySpool
from postroad.testing.delivery import delivering, publish, send
from postroad.testing.mx import SILENCE, ScriptedMx
from postroad.testing.patience import patient

LATER = RetrySchedule(first=timedelta(hours=1))


def through(name: str, mx: ScriptedMx) -> WayOut:
    host = Smarthost("127.0.0.1", mx.port)
    return WayOut(f"relay:shop/{name}", (host,), tls=TlsMode.NONE, retry=LATER)


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
        ways = {f"{name}_test": through(name, mute) for name in names}
        await publish(spool, good_test=through("good", good), **ways)
        async with delivering(spool, room=300, finish=0.1):
            await send(spool, *(f"{n}@{name}.test" for n in range(mails) for name in names))
            async with asyncio.timeout(patient(20)):
                await mute.met(sites)
                await send(spool, *(f"{n}@good.test" for n in range(10)))
                await good.received(10)
        assert not mute.messages
