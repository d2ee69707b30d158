"""
The child processes of `postroad up`: starts them, and restarts those that end.

Each second, a child writes a JSON line to a pipe that says whether it is ready. A child is killed
when `up` dies, and when it has written nothing for a minute (two minutes from its start): then its
event loop hangs, and connections that the kernel gives it would wait for ever. No accepted mail is
lost, because a process holds none.

The listening sockets belong to `up`, and the children inherit them. There is one socket for each
ingress process and port, all with SO_REUSEPORT, so the kernel spreads new connections evenly.
Connections to a killed process wait in the socket's backlog until the process is back. If a process
ends before it was ready, `up` stops listening on its sockets, and its share goes to the others. The
process listens again itself when it starts.
"""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from postroad.process.background.backoff import Backoff
from postroad.process.sockets import is_shared
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_BACKOFF = Backoff(timedelta(seconds=0.1), timedelta(seconds=5))
_STEADY = 10.0  # seconds that a child must run before its next restart is quick again


@dataclass(frozen=True, slots=True)
class SilenceLimits:
    """
    How long a child may be silent; it is silent while its event loop hangs.

    The limits count checks and not seconds, so that no child is killed because the machine slept or
    was too busy to check.
    """

    look: float = 1.0  # seconds
    told: int = 15  # silent checks until it counts as not ready
    ended: int = 60  # silent checks until it is killed
    started: int = 120  # silent checks from its start; Python and its modules load first


_SILENCE = SilenceLimits()


@dataclass(frozen=True)
class ChildSpec:
    """What to run: `name` is shown to the user (`ingress-0`), Python runs `module`."""

    name: str
    module: str
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()


@dataclass
class Child:
    """One child process, and what it has reported."""

    spec: ChildSpec
    pid: int | None = None
    ready: bool = False
    spoke: bool = False  # since its start
    silent: int = 0  # checks in a row without a line from it
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_ready(self) -> None:
        """Wait until the child is ready."""
        while not self.ready:
            self._changed.clear()
            await self._changed.wait()

    def say(self, *, ready: bool) -> None:
        """Note whether it is ready."""
        self.ready = ready
        self._changed.set()

    def heard(self, *, ready: bool) -> None:
        """Note a line from the child itself."""
        self.spoke, self.silent = True, 0
        self.say(ready=ready)


class StartRefused(Exception):
    """A child ended at its first start with this exit code, so a restart would not help."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code}")


class Supervisor:
    """Keeps the children running until `stop` is called."""

    def __init__(self, specs: Sequence[ChildSpec], *, silence: SilenceLimits = _SILENCE) -> None:
        self._silence = silence
        self.children = [Child(spec) for spec in specs]
        self._stopping = False
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether every child is ready."""
        return all(child.ready for child in self.children)

    async def wait_ready(self) -> None:
        """Wait until every child has been ready."""
        for child in self.children:
            await child.wait_ready()

    async def run(self) -> None:
        """Run all children until `stop`; StartRefused if one ends before it was ever ready."""
        self._keepers = [
            asyncio.create_task(self._keep(child), name=child.spec.name) for child in self.children
        ]
        done, _ = await asyncio.wait(self._keepers, return_when=asyncio.FIRST_EXCEPTION)
        for keeper in done:
            keeper.result()

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        deaths, was_ready = 0, False
        while not self._stopping:
            began = loop.time()
            code = await self._run_once(child)
            came_back = child.ready
            was_ready = was_ready or came_back
            child.pid = None
            child.say(ready=False)
            if self._stopping:
                return
            if not was_ready and code in (1, 2):
                raise StartRefused(child.spec.name, code)
            deaths = 1 if loop.time() - began > _STEADY else deaths + 1
            if not came_back:
                _shut_ports(child.spec)
            log.warning(
                "a process ended and is started again", child=child.spec.name, reason=_how(code)
            )
            await asyncio.sleep(_BACKOFF.seconds(deaths, random))

    async def _run_once(self, child: Child) -> int:
        reader, writer = os.pipe()
        try:
            process = await _spawn(child.spec, writer)
        finally:
            os.close(writer)
        child.pid, child.spoke, child.silent = process.pid, False, 0
        listening = asyncio.create_task(_listen(child, reader))
        watching = asyncio.create_task(self._end_when_silent(child, process))
        try:
            return await process.wait()
        finally:
            watching.cancel()
            await listening

    async def _end_when_silent(self, child: Child, process: asyncio.subprocess.Process) -> None:
        limits = self._silence
        while True:
            await asyncio.sleep(limits.look)
            child.silent += 1
            seconds = round(child.silent * limits.look)
            if child.silent == limits.told and child.spoke:
                log.warning("a process does not answer", child=child.spec.name, seconds=seconds)
                child.say(ready=False)
            elif child.silent == (limits.ended if child.spoke else limits.started):
                log.error(
                    "a process does not answer and is killed",
                    child=child.spec.name,
                    seconds=seconds,
                )
                process.kill()

    async def stop(self, *, grace: float) -> None:
        """Let all children drain at once; kill those that still run after `grace` seconds."""
        self._stopping = True
        if not self._keepers:
            return
        self._signal_all(signal.SIGTERM)
        _, lingering = await asyncio.wait(self._keepers, timeout=grace)
        if lingering:
            self._signal_all(signal.SIGKILL)
            await asyncio.wait(lingering)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self.children:
            if child.pid is not None:
                os.kill(child.pid, number)


async def _spawn(spec: ChildSpec, notify: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-Im",
        spec.module,
        stdin=subprocess.DEVNULL,
        pass_fds=(notify, *spec.descriptors),
        start_new_session=True,
        env={
            **_inherited(),
            **spec.environment,
            "POSTROAD_PROCESS": spec.name,
            "POSTROAD_NOTIFY_FD": str(notify),
            "POSTROAD_PARENT_PID": str(os.getpid()),
        },
    )


def _shut_ports(spec: ChildSpec) -> None:
    """Stop listening on a child's sockets, which stay bound: its clients go to other processes."""
    for descriptor in spec.descriptors:
        with socket.socket(fileno=os.dup(descriptor)) as port, suppress(OSError):
            if is_shared(port):  # without SO_REUSEPORT, another program could take the port
                port.shutdown(socket.SHUT_RDWR)


def _inherited() -> dict[str, str]:
    """Return our environment without the NATS settings: `up` sets these itself."""
    return {n: v for n, v in os.environ.items() if not n.startswith("POSTROAD_NATS_")}


async def _listen(child: Child, descriptor: int) -> None:
    """Read the child's lines until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    with os.fdopen(descriptor, "rb", buffering=0) as pipe:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                child.heard(ready=json.loads(line).get("ready") is True)
        finally:
            transport.close()


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
