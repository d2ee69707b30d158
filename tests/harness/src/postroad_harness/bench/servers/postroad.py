"""Postroad as users run it: `postroad up` with one smarthost and default settings."""

import sys
from importlib import metadata
from pathlib import Path

from postroad.testing.processes.relay import RunningRelay, process_name

_MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: bench}}
spec: {{networks: ["127.0.0.0/8"], senders: ["*"]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: out}}
spec:
  destinations: ["*"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
"""


class PostroadServer:
    """`postroad up` with further `flags`; `python` is that of another commit's environment."""

    def __init__(
        self,
        flags: tuple[str, ...] = (),
        *,
        name: str = "postroad",
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self._flags = flags
        self._python = python
        self.settings = " ".join(["postroad up", *flags])

    async def start(self, folder: Path, next_hop: int) -> None:
        """Start it with a manifest that relays to the next hop."""
        manifests = _MANIFESTS.format(port=next_hop)
        self._relay = RunningRelay(folder, manifests, self._flags, python=self._python)
        await self._relay.start()

    def version(self) -> str:
        """Return the distribution's version."""
        return metadata.version("postroad")

    @property
    def port(self) -> int:
        """The relay port."""
        return self._relay.port()

    @property
    def pid(self) -> int:
        """`up` itself."""
        return self._relay.pid

    def called(self, pid: int) -> str:
        """Return ingress, delivery, nats-server or up."""
        return "up" if pid == self.pid else process_name(pid).rstrip("-0123456789")

    async def stop(self) -> None:
        """End it without draining: what is left is of no use."""
        await self._relay.kill()
