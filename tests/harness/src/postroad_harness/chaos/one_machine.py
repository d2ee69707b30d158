"""A chaos run on one machine: `postroad up` with two processes of each kind."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from postroad.testing.processes.relay import RunningRelay
from postroad_harness.chaos.rig import ENVIRONMENT, drawn


class OneMachine:
    """`postroad up`, whose supervisor starts again what was killed."""

    what = "one machine, one nats-server"

    async def start(self, folder: Path, manifests: str) -> None:
        """Start it."""
        workers = ("--workers", "ingress=2,delivery=2")
        self._relay = RunningRelay(folder, manifests, workers, ENVIRONMENT)
        await self._relay.start()

    @property
    def port(self) -> int:
        """The relay port."""
        return self._relay.port()

    def kinds(self) -> Sequence[str]:
        """All that `up` runs."""
        return ("ingress", "delivery", "nats-server")

    async def kill(self, kind: str, draw: float) -> str | None:
        """SIGKILL a process, unless all of the kind are just being started again."""
        found = {name: pid for name, pid in self._relay.children().items() if name.startswith(kind)}
        if not found:
            return None
        name = drawn(sorted(found), draw)
        try:
            os.kill(found[name], signal.SIGKILL)
        except ProcessLookupError:
            return None
        return name

    async def stop(self) -> None:
        """End it."""
        await self._relay.kill()
