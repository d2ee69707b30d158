"""A delivery process with few file descriptors has fewer places, and blames nobody for it."""

import asyncio
import resource
import sys
from datetime import timedelta
from subprocess import run

import pytest
from structlog.testing import capture_logs

from postroad.delivery.descriptors import Portions, fitting_portions
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.descriptors import no_descriptors
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, publish, send
from postroad.testing.queue.queued_mail import now
from postroad_harness.setups.delivery.worker import to_smarthost, waiting


@pytest.mark.parametrize("descriptors", [160, 256, 1024, 1500])
def test_places_sessions_and_questions_fit_together(descriptors: int) -> None:
    fitting = fitting_portions(1500, descriptors)
    assert fitting.needed <= descriptors
    assert fitting.in_hand > descriptors / 3
    assert fitting.questions > descriptors / 20


def test_with_enough_descriptors_nothing_changes() -> None:
    assert fitting_portions(1500, 4096) == Portions(1500)
    assert fitting_portions(1500, resource.RLIM_INFINITY) == Portions(1500)


def test_the_least_is_ten_places() -> None:
    assert fitting_portions(1500, 20).in_hand == 10


PROGRAM = """
import resource
from postroad.delivery.descriptors import within_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}))
print(within_descriptors(1500).in_hand, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("hard", "said", "warned"), [(4096, "1500 4096", False), (1024, "715 1024", True)]
)
def test_the_limit_is_raised_and_what_is_missing_is_said(
    hard: int, said: str, warned: bool
) -> None:
    program = PROGRAM.format(hard=hard)
    ran = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said in ran.stdout
    assert ("too few file descriptors" in ran.stdout + ran.stderr) is warned


async def test_mail_that_cannot_be_sent_for_want_of_them_waits_for_seconds() -> None:
    """The host is not at fault: its other mail is not suspended, and this was no attempt."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            with no_descriptors(), capture_logs() as logs:
                await send(spool, "b@y.example")
                async with asyncio.timeout(patient(10)):
                    while await waiting(spool) != [WaitKind.DEFERRED]:
                        await asyncio.sleep(0.01)
            assert not [line for line in logs if "a site is down" in line["event"]]
            [queued] = [each async for each in spool.waiting.list(Selection())]
            await send(spool, "c@y.example")
            async with asyncio.timeout(patient(10)):
                while not mx.messages:
                    await asyncio.sleep(0.01)
    assert queued.record.attempts == 0
    assert queued.due is not None
    assert queued.due - now() < timedelta(seconds=31)
    last = queued.record.recipients[0].last
    assert last is not None
    assert "this machine cannot connect: Too many open files" in last.text
