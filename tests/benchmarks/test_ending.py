"""A long run that is interrupted: it cleans up, and prints one sentence."""

import signal
import subprocess
import sys

from postroad.testing.patience import patient

_RUN = """
import asyncio
from postroad_harness.ending import run_orderly

async def work():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("cleaned up", flush=True)

run_orderly(work())
"""


def test_an_interrupted_run_cleans_up_and_ends_with_a_sentence() -> None:
    with subprocess.Popen(
        [sys.executable, "-Ic", _RUN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=patient(20))
    assert out == "cleaned up\n"
    assert error == "ended before it was done\n"
    assert process.returncode == 1
