"""The processes of `up`: one that hangs is reported and replaced."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from postroad.cli.standalone.supervisor import Child, ChildSpec, SilenceLimits, Supervisor
from postroad.testing.patience import patient

# A child speaks once a second: here it is silent after two, and replaced after four.
SILENCE = SilenceLimits(look=0.1, told=20, ended=40, started=300)


@asynccontextmanager
async def supervised(
    mode: str = "", silence: SilenceLimits = SILENCE
) -> AsyncIterator[tuple[Supervisor, Child]]:
    environment = {"POSTROAD_LOG_LEVEL": "error", "IDLE": mode}
    spec = ChildSpec("idle-0", "postroad.testing.processes.idle_process", environment)
    supervisor = Supervisor([spec], silence=silence)
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, supervisor.children[0]
    finally:
        await supervisor.stop(grace=patient(5))
        await running


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    async with supervised() as (supervisor, _):
        async with asyncio.timeout(patient(20)):
            await supervisor.wait_ready()
        yield supervisor


async def test_a_process_that_stands_still_is_told_of_and_replaced(supervisor: Supervisor) -> None:
    """It takes the four seconds of its silence."""
    [child] = supervisor.children
    stopped = child.pid
    assert stopped is not None
    with capture_logs() as lines:
        os.kill(stopped, signal.SIGSTOP)
        async with asyncio.timeout(patient(20)):
            while supervisor.ready:
                await asyncio.sleep(0.01)
            assert child.pid == stopped  # a while is left to it
            await supervisor.wait_ready()
    assert child.pid != stopped
    told = [(line["log_level"], line["event"], line["child"]) for line in lines]
    assert told == [
        ("warning", "a process does not answer", "idle-0"),
        ("error", "a process does not answer and is killed", "idle-0"),
        ("warning", "a process ended and is started again", "idle-0"),
    ]


async def test_a_process_that_answers_again_in_time_stays(supervisor: Supervisor) -> None:
    [child] = supervisor.children
    stopped = child.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    async with asyncio.timeout(patient(20)):
        while supervisor.ready:
            await asyncio.sleep(0.01)
        os.kill(stopped, signal.SIGCONT)
        await supervisor.wait_ready()
    assert child.pid == stopped


async def test_a_process_that_stands_still_before_its_first_word_is_replaced() -> None:
    with capture_logs() as lines:
        async with supervised("mute", replace(SILENCE, started=5)) as _:
            async with asyncio.timeout(patient(20)):
                while len(lines) < 2:
                    await asyncio.sleep(0.01)
    told = [(line["log_level"], line["event"], line["child"]) for line in lines]
    assert told[:2] == [
        ("error", "a process does not answer and is killed", "idle-0"),
        ("warning", "a process ended and is started again", "idle-0"),
    ]


async def test_a_process_that_waits_in_its_start_says_so() -> None:
    """It is not taken for one that stands still."""
    async with supervised("waiting") as (_, child):
        async with asyncio.timeout(patient(20)):
            while not child.spoke:
                await asyncio.sleep(0.01)
        assert not child.ready
