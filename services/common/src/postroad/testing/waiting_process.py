"""A process whose start waits for something that does not come: `python -Im` runs it."""

from dataclasses import dataclass

from postroad.process import entry
from postroad.process.lifecycle import Process


@dataclass(frozen=True, slots=True)
class _NoSettings:
    pass


async def _build(process: Process, settings: _NoSettings) -> None:
    await process.until_stopping()


if __name__ == "__main__":
    entry.main("waiting", _NoSettings, _build)
