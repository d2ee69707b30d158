"""`postroad up` at a terminal: what a user reads on the first day."""

import asyncio
import os
import pty
import re
import sys
from pathlib import Path

import pytest

from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient

pytestmark = pytest.mark.nats

ANY_PORT = [
    *("--relay", "127.0.0.1:0", "--submission", "127.0.0.1:0"),
    *("--submissions", "127.0.0.1:0", "--http", "127.0.0.1:0"),
]


class Terminal:
    """A terminal with a relay on it: all that was written, without colours."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.text = ""

    async def run(self, *words: str, **environment: str) -> asyncio.subprocess.Process:
        """Run a command on it."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.cli", *words),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, **environment},
            preexec_fn=dies_with_us(),
        )
        os.close(self.slave)
        return process

    async def until(self, words: str) -> None:
        """Read on until some words stand there, or nothing more comes."""
        async with asyncio.timeout(patient(30)):
            while words not in self.text and await asyncio.to_thread(self._read):
                pass
        assert words in self.text

    def _read(self) -> bool:
        try:
            octets = os.read(self.master, 65536)
        except OSError:  # the last process on it has ended
            return False
        self.text += re.sub(r"\x1b\[[0-9;]*m", "", octets.decode()).replace("\r", "")
        return bool(octets)


async def test_the_first_lines_are_few_and_say_what_matters(tmp_path: Path) -> None:
    slips = {"POSTROAD_LIMIT_IDEL": "5m", "POSTROAD_LIMIT_IDLE": "6m"}
    terminal = Terminal()
    process = await terminal.run("up", "--state", str(tmp_path), *ANY_PORT, **slips)
    try:
        await terminal.until("--to you@example.net\n")
        example = tmp_path / "example" / "relay.yaml"
        example.write_text(example.read_text() + "# edited\n")
        await terminal.until("manifests edited, but no object has changed")
    finally:
        process.terminate()
        await terminal.until("up         stopped")
        await process.wait()
        os.close(terminal.master)
    lines = terminal.text.splitlines()
    [ready] = [number for number, line in enumerate(lines) if line.startswith("postroad is ready")]
    assert len(lines[:ready]) <= 6
    told = "\n".join(lines)
    assert "did you mean POSTROAD_LIMIT_IDLE?" in told
    assert f"  state      {tmp_path}\n" in told
    assert "  settings   POSTROAD_LIMIT_IDLE=6m\n" in told
    assert "lanes are taken lanes=p00-p07 pool=default" in told
    assert not re.search("changes? detected", told)  # what a library says at its own level
    assert "{" not in told
