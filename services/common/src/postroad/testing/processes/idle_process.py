"""
A process that does nothing, for tests of whoever starts processes: `python -Im` runs it.

$IDLE says otherwise: `mute` stands still before its first word, `waiting` in its start.
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
