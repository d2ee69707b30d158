"""
A process that does nothing, for tests of supervisors: `python -Im` runs it.

With $IDLE=mute it hangs before it writes anything; with $IDLE=waiting it hangs in its start.
"""

import os
import signal
from dataclasses import dataclass

from postroad.process import entry
from postroad.process.lifecycle import Process


@dataclass(frozen=True, slots=True)
class _NoSettings:
    pass


async def _build(process: Process, settings: _NoSettings) -> None:
    if os.environ.get("IDLE") == "waiting":
        await process.until_stopping()


if __name__ == "__main__":
    if os.environ.get("IDLE") == "mute":
        signal.pause()
    entry.main("idle", _NoSettings, _build)
