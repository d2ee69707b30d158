"""
Child processes of tests, which never outlive their test.

A child is killed when its block ends, and by the kernel when the test's process is killed. So a
test that fails or times out leaves nothing running.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from postroad.process.supervised import die_with_parent

ChildProcess = asyncio.subprocess.Process


def dies_with_us() -> Callable[[], None]:
    """Return a function that a child calls before exec (`preexec_fn`)."""
    return partial(die_with_parent, os.getpid())


@asynccontextmanager
async def started(
    *words: str, environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> AsyncIterator[ChildProcess]:
    """Run a `postroad` command with pipes for its input and output."""
    command = ("-Im", "postroad.cli", *words)
    async with running_python(*command, environment=environment, python=python) as process:
        yield process


@asynccontextmanager
async def running_python(
    *words: str, environment: Mapping[str, str] | None = None, python: str = sys.executable
) -> AsyncIterator[ChildProcess]:
    """Run Python with these words, and pipes for its input and output; kill it in the end."""
    process = await asyncio.create_subprocess_exec(
        *(python, *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ if environment is None else environment,
        preexec_fn=dies_with_us(),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(
    *words: str,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> tuple[int, str, str]:
    """Run a `postroad` command to its end; return exit code, output and error output."""
    async with started(*words, environment=environment, python=python) as process:
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()
