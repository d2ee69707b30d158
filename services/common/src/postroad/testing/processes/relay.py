"""
A whole relay for end-to-end and fault tests: `postroad up` as a child process.

It finds the processes of the relay by name and can kill each of them. `kill` ends the relay with
all its children; a test's fixture calls it in any case.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from postroad.testing import children
from postroad.testing.patience import patient

_READY = re.compile(
    r"postroad is ready: relay (\S+), submission (\S+), submissions (\S+), http (\S+)"
)
_START_LIMIT = 20.0  # seconds
# Flags of `up` for free ports.
FREE_PORTS = (
    *("--relay", "127.0.0.1:0", "--submission", "127.0.0.1:0"),
    *("--submissions", "127.0.0.1:0", "--http", "127.0.0.1:0"),
)


class RunningRelay:
    """One `postroad up`, and the addresses on which it listens."""

    def __init__(
        self,
        folder: Path,
        manifests: str,
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        *,
        python: str = sys.executable,
    ) -> None:
        """`python` is the interpreter of the environment whose Postroad runs."""
        self.state = folder / "state"
        self.manifests = folder / "manifests.yaml"
        self.manifests.write_text(manifests)
        self.log = folder / "up.log"
        self.addresses: dict[str, str] = {}
        self._flags = list(flags)
        self._python = python
        self._environment = dict(environment or {})
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The pid of `up`."""
        assert self._process is not None
        return self._process.pid

    def port(self, listener: str = "relay") -> int:
        """Return a listener's port: relay, submission, submissions or http."""
        return int(self.addresses[listener].rpartition(":")[2])

    async def start(self) -> None:
        """Start it and wait for its line `postroad is ready`."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._python, "-m", "postroad.cli", "up"),
                *("--config", str(self.manifests), "--state", str(self.state)),
                *("--relay", self._address("relay"), "--http", self._address("http")),
                *("--submission", self._address("submission")),
                *("--submissions", self._address("submissions")),
                *self._flags,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**_surroundings(), **self._environment},
                preexec_fn=children.dies_with_us(),
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(patient(_START_LIMIT)):
            line = (await self._process.stdout.readline()).decode()
        match = _READY.match(line)
        assert match is not None, f"no ready line but {line!r}; log: {self.log.read_text()}"
        names = ("relay", "submission", "submissions", "http")
        self.addresses = dict(zip(names, match.groups(), strict=True))

    def _address(self, listener: str) -> str:
        return self.addresses.get(listener, "127.0.0.1:0")

    def children(self) -> dict[str, int]:
        """Return the relay's processes by name: ingress-0, delivery-0 …, nats-server."""
        found: dict[str, int] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            for text in (task / "children").read_text().split():
                found[process_name(int(text))] = int(text)
        return found

    def kill_child(self, name: str) -> None:
        """Send SIGKILL to one process of the relay."""
        os.kill(self.children()[name], signal.SIGKILL)

    async def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()

    async def kill(self) -> None:
        """Send SIGKILL to `up`; its children die with it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def command(self, *words: str) -> tuple[int, str, str]:
        """Run a `postroad` command for this relay; return exit code, output and error output."""
        environment = {**os.environ, "POSTROAD_STATE": str(self.state), "COLUMNS": "200"}
        return await children.run(*words, environment=environment, python=self._python)


def _surroundings() -> dict[str, str]:
    """Return the environment without variables of the tests, of which a relay would warn."""
    of_tests = ("POSTROAD_TEST_", "POSTROAD_E2E_")
    return {name: text for name, text in os.environ.items() if not name.startswith(of_tests)}


def process_name(pid: int) -> str:
    """Return the name of a relay's process: ingress-0, delivery-0 …, nats-server."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return f"gone-{pid}"
    if b"nats-server" in command.split(b"\0")[0]:
        return "nats-server"
    for variable in environment:
        if variable.startswith(b"POSTROAD_PROCESS="):
            return variable.partition(b"=")[2].decode()
    return f"unknown-{pid}"
