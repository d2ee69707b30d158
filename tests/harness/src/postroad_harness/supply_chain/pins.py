"""
The packages that requirements/ pins, read from its files.

They are written by `make lock` alone, in one form: a line with name and version, an environment
marker where not every platform needs the package, then a line for each hash.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)[^\n]*"
    r"(?P<hashes>(?:\n +--hash=sha256:[0-9a-f]{64}[ \\]*)*)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A package at one version, and the SHA-256 of each of its files that may be installed."""

    name: str
    version: str
    hashes: frozenset[str]


def read(text: str) -> Iterator[Pin]:
    """Read the pins in the text of one file."""
    for found in _PIN.finditer(text):
        hashes = frozenset(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"]))
        yield Pin(found["name"], found["version"], hashes)


def read_all(folder: Path) -> dict[str, tuple[Pin, ...]]:
    """Read each file of the folder `requirements`, by its name without `.txt`."""
    return {path.stem: tuple(read(path.read_text())) for path in sorted(folder.glob("*.txt"))}
