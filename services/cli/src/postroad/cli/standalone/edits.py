"""
Seeing that manifests were edited where no watch of their folders tells it.

A watch is one of inodes. Who writes a file anew gives it another, and then the watch is to begin
anew. What a symbolic link leads to lies elsewhere, and is edited there. So both are looked at: it
costs a stat of each path that is named, and of each file or folder behind a link.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postroad.manifests.files.paths import linked

_Mark = tuple[int, ...]  # equal while nothing was changed; empty where nothing is


@dataclass(frozen=True, slots=True)
class Look:
    """How the files were at one time: those that are named, and what links lead to."""

    paths: Sequence[Path]
    inodes: tuple[_Mark, ...]  # of the paths
    links: tuple[tuple[Path, _Mark], ...]

    def again(self) -> "Look":
        """Look at the same once more."""
        links = tuple((path, _content(path)) for path, _ in self.links)
        return Look(self.paths, tuple(map(_inode, self.paths)), links)


def look_at(paths: Sequence[Path]) -> Look:
    """Look at files and folders, and find what links lead to; that takes a walk of the folders."""
    links = tuple((path, _content(path)) for path in linked(paths))
    return Look(paths, tuple(map(_inode, paths)), links)


def _inode(path: Path) -> _Mark:
    return _content(path)[:1]


def _content(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_dev, found.st_mtime_ns, found.st_size
