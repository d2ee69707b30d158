"""The interface of a relay in a chaos run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# All of the load comes from one address.
ENVIRONMENT = {"POSTROAD_LIMIT_CONNECTIONS_PER_ADDRESS": "1000"}


class Rig(Protocol):
    """A relay whose processes can be killed one by one, and come back by themselves."""

    what: str  # as the report names it

    async def start(self, folder: Path, manifests: str) -> None:
        """Start it on these manifests."""

    @property
    def port(self) -> int:
        """Where it takes mail."""

    def kinds(self) -> Sequence[str]:
        """Return the kinds of process that can be killed."""

    async def kill(self, kind: str, draw: float) -> str | None:
        """SIGKILL one of a kind, `draw` (0 to 1) says which; None when none can be killed now."""

    async def stop(self) -> None:
        """End it and all of its processes."""


def drawn(names: Sequence[str], draw: float) -> str:
    """Return the name that a draw falls on."""
    return names[min(int(draw * len(names)), len(names) - 1)]
