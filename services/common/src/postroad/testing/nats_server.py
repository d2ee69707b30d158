"""A real nats-server for tests: a process in a folder of its own, killed and started at will."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

_START_LIMIT = 10.0  # seconds

_CONFIG = """\
server_name: test
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"
max_payload: 2097152
jetstream {{ store_dir: {store}, sync_interval: always, max_file_store: {limit} }}
"""


class NatsServer:
    """nats-server with JetStream on loopback, fsync always; `async with` starts and ends it."""

    def __init__(self, folder: Path, *, max_file_store: str = "10GB") -> None:
        self._folder = folder
        self._limit = max_file_store
        self._port, self._monitor = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect; the same over restarts."""
        return f"nats://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> None:
        """Start it and wait until JetStream serves."""
        config = self._folder / "nats.conf"
        config.write_text(
            _CONFIG.format(
                port=self._port,
                monitor=self._monitor,
                store=json.dumps(str(self._folder / "jetstream")),
                limit=self._limit,
            )
        )
        self._process = self._spawn(config)
        async with asyncio.timeout(_START_LIMIT):
            while not await asyncio.to_thread(self._is_healthy):
                assert self._process.poll() is None, (self._folder / "nats.log").read_text()
                await asyncio.sleep(0.02)

    def _spawn(self, config: Path) -> subprocess.Popen[bytes]:
        with (self._folder / "nats.log").open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("nats-server")), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _is_healthy(self) -> bool:
        url = f"http://127.0.0.1:{self._monitor}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """SIGKILL it, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    async def restart(self) -> None:
        """Kill it and start it again on the same store and port."""
        self.kill()
        await self.start()

    def freeze(self) -> None:
        """Stop it as a partition does: connections stay, nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
