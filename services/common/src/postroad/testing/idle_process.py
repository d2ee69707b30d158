"""A process that does nothing, for tests of whoever starts processes: `python -Im` runs it."""

from dataclasses import dataclass

from postroad.process import entry
from postroad.process.lifecycle import Process


@dataclass(frozen=True, slots=True)
class _NoSettings:
    pass


async def _build(process: Process, settings: _NoSettings) -> None:
    pass


if __name__ == "__main__":
    entry.main("idle", _NoSettings, _build)
