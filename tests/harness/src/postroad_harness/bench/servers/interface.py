"""The interface of a mail server that the bench measures."""

from pathlib import Path
from typing import Protocol


class Unavailable(Exception):
    """A server cannot be measured here; the text is the reason."""


class MailServer(Protocol):
    """A mail server on loopback that relays everything to one next hop."""

    name: str
    settings: str  # a description of its settings, for the page

    async def start(self, folder: Path, next_hop: int) -> None:
        """Start it in a folder of its own; Unavailable when that is not possible here."""

    def version(self) -> str:
        """Return its version."""

    @property
    def port(self) -> int:
        """Where it takes mail."""

    @property
    def pid(self) -> int:
        """Its first process."""

    def called(self, pid: int) -> str:
        """Return what one of its processes is known as."""

    async def stop(self) -> None:
        """End it and all of its processes."""
