"""Processes that a test starts end with it: if its block fails, and if the test is killed."""

import asyncio
import subprocess
import sys

import pytest

from postroad.testing.children import started
from postroad.testing.patience import patient

_TEST = """
import asyncio
from postroad.testing.children import started

async def test():
    async with started("sink", "--listen", "127.0.0.1:0") as sink:
        print((await sink.stderr.readline()).decode(), end="", flush=True)
        await sink.wait()

asyncio.run(test())
"""


async def test_a_block_that_fails_ends_what_it_started() -> None:
    with pytest.raises(RuntimeError, match="the test failed"):
        async with started("sink", "--listen", "127.0.0.1:0") as sink:
            raise RuntimeError("the test failed")
    assert sink.returncode == -9


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_a_killed_test_leaves_nothing_running() -> None:
    with subprocess.Popen([sys.executable, "-Ic", _TEST], stdout=subprocess.PIPE) as test:
        assert test.stdout is not None
        address = test.stdout.readline().decode().split()[-1]
        test.kill()
    async with asyncio.timeout(patient(20)):
        while await listens(address):
            await asyncio.sleep(0.01)


async def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True
