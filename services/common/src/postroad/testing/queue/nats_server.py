"""A real nats-server with a folder of its own, which a test can kill and start."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.wire.payload import MAX_PAYLOAD
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import ROLES, expanded, password_of

_START_LIMIT = 10.0  # seconds
_NOT_HANDED_OUT = (20_000, 30_000)  # ports: the ephemeral ports of Linux begin at 32,768
_CHANCE = random.SystemRandom()  # two workers of a test run may have the same seed otherwise

_CONFIG = """\
server_name: {name}
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitor}"
max_payload: {max_payload}
jetstream {{ store_dir: {store}, sync_interval: always, max_file_store: {limit} }}
{more}
"""


class NatsServer:
    """
    nats-server with JetStream on loopback, fsync always; `async with` starts and ends it.

    `accounts` is the chart's file of accounts, for a number of shards; `more` is further
    configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_file_store: str = "10GB",
        accounts: Path | None = None,
        shards: int = SINGLE_MACHINE.shards,
        name: str = "test",
        more: str = "",
        max_payload: int = MAX_PAYLOAD,
    ) -> None:
        self._folder = folder
        self._limit = max_file_store
        self._accounts = accounts
        self._shards = shards
        self._name = name
        self._more = more
        self._max_payload = max_payload
        self._port, self._monitor = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for clients; restarts do not change it."""
        return f"nats://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """The server's log."""
        return (self._folder / "nats.log").read_text()

    async def start(self) -> None:
        """Start it and wait until JetStream serves."""
        self.spawn()
        await self.until_healthy()

    async def until_healthy(self) -> None:
        """Wait until JetStream serves."""
        async with asyncio.timeout(patient(_START_LIMIT)):
            while not await asyncio.to_thread(self._is_healthy):
                assert self._process is not None, "the server was not started"
                assert self._process.poll() is None, self.log
                await asyncio.sleep(0.02)

    def spawn(self) -> None:
        """Start it without waiting."""
        config = self._folder / "nats.conf"
        config.write_text(
            _CONFIG.format(
                name=self._name,
                port=self._port,
                monitor=self._monitor,
                store=json.dumps(str(self._folder / "jetstream")),
                limit=self._limit,
                max_payload=self._max_payload,
                more=self._more + (self._include() if self._accounts else ""),
            )
        )
        passwords = {f"{role.upper()}_PASSWORD": password_of(role) for role in ROLES}
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).with_name("nats-server")), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | passwords,
                preexec_fn=dies_with_us(),
            )

    def _include(self) -> str:
        # nats-server looks for included files only in the folder of the configuration.
        assert self._accounts is not None
        text = expanded(self._accounts, shards=self._shards)
        (self._folder / "accounts.conf").write_text(text)
        return "\ninclude accounts.conf\n"

    def _is_healthy(self) -> bool:
        try:
            self.page("healthz")
        except OSError:
            return False
        return True

    def page(self, name: str) -> dict[str, Any]:
        """Return a page of the server's monitoring; OSError unless it is well."""
        url = f"http://127.0.0.1:{self._monitor}/{name}"
        with urllib.request.urlopen(url, timeout=1) as answer:
            said: dict[str, Any] = json.load(answer)
            return said

    def kill(self) -> None:
        """Send SIGKILL, which simulates a crash."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Send SIGTERM, which ends it cleanly."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait()

    def reload(self) -> None:
        """Have it read its configuration and certificates again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    async def restart(self) -> None:
        """Kill it and start it again with the same store and port."""
        self.kill()
        await self.start()

    async def change_accounts(self, accounts: Path) -> None:
        """Restart it with another file of accounts, as an upgrade of the chart does."""
        self._accounts = accounts
        self.stop()
        await self.start()

    def freeze(self) -> None:
        """Stop it, which simulates a partition: connections stay, but get no answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    """
    Return free loopback ports, to be bound a little later.

    They are no ephemeral ports, so no listener or connection of another test gets one of them from
    the system meanwhile. Another process of the test run may draw the same port, which is unlikely.
    """
    found: list[int] = []
    while len(found) < count:
        port = _CHANCE.randrange(*_NOT_HANDED_OUT)
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found
