"""
Seeing that manifests were edited: what would be read is looked at, about once a second.

Nothing is asked to notify of changes, so nothing can be missed, on any file system and however a
file is written (docs/decisions/configuration.md has the figures). A look costs a stat of each file;
the more there are, the rarer it is.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from postroad.manifests.files.paths import manifest_files

_EVERY = timedelta(seconds=1)
_SHARE = 0.005  # of a processor, for looking
_SETTLED_FOR = 0.1  # seconds without a change, after an edit
_SETTLES_WITHIN = 2.0  # seconds; what changes for longer is read as it is

_Mark = tuple[int, ...]  # of a file: equal while nothing was changed; empty where nothing is


@dataclass(frozen=True, slots=True)
class Look:
    """How the files were at one time, and what of them could not be looked at."""

    files: Mapping[str, _Mark]
    refused: Sequence[tuple[str, str, str]] = ()
    cost: timedelta = field(default=timedelta(), compare=False)  # of a processor's time


def look_at(paths: Sequence[Path]) -> Look:
    """Look at files, and at folders whole."""
    began = time.thread_time()
    refused: list[tuple[str, str, str]] = []
    files = manifest_files(paths, lambda *why: refused.append(why))
    marks = {file: _mark(file) for file in files}
    return Look(marks, refused, timedelta(seconds=time.thread_time() - began))


def pause_after(cost: timedelta) -> timedelta:
    """Return how long not to look again, for what a look costs."""
    return max(_EVERY, cost / _SHARE)


async def next_edit(before: Look, look: Callable[[], Awaitable[Look]]) -> Look:
    """
    Return how the files are after the next edit, as soon as nothing changes any more.

    Who copies a folder, or checks out another version, is not to be read halfway: what is not
    there yet would count as removed.
    """
    now = before
    while now == before:
        await asyncio.sleep(pause_after(now.cost).total_seconds())
        now = await look()
    deadline = time.monotonic() + _SETTLES_WITHIN
    while True:
        await asyncio.sleep(_SETTLED_FOR)
        last, now = now, await look()
        if now == last or time.monotonic() > deadline:
            return now


def _mark(file: str) -> _Mark:
    """Return what an edit changes: the time of the inode's change, too, which nobody can set."""
    try:
        found = os.stat(file)  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
