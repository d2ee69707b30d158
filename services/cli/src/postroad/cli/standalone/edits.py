"""
Detects edits of manifests by polling the files, about once a second.

Polling works on any file system and however a file is written, so no edit is missed; change
notifications do not (docs/decisions/configuration.md has the figures). Each poll costs one stat for
each file. The more files there are, the longer the pause between polls.
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
_SETTLES_WITHIN = 2.0  # seconds; files that change for longer are read as they are

_Mark = tuple[int, ...]  # of a file: equal while it is unchanged; empty if there is no file


@dataclass(frozen=True, slots=True)
class Look:
    """The state of the files at one time, and those that could not be read."""

    files: Mapping[str, _Mark]
    refused: Sequence[tuple[str, str, str]] = ()
    cost: timedelta = field(default=timedelta(), compare=False)  # processor time


def look_at(paths: Sequence[Path]) -> Look:
    """Poll the files, and all files in the folders."""
    began = time.thread_time()
    refused: list[tuple[str, str, str]] = []
    files = manifest_files(paths, lambda *why: refused.append(why))
    marks = {file: _mark(file) for file in files}
    return Look(marks, refused, timedelta(seconds=time.thread_time() - began))


def pause_after(cost: timedelta) -> timedelta:
    """Return the pause before the next poll, by the cost of one."""
    return max(_EVERY, cost / _SHARE)


async def next_edit(before: Look, look: Callable[[], Awaitable[Look]]) -> Look:
    """
    Return the state of the files after the next edit, as soon as they stop changing.

    A folder that is being copied, or a checkout of another version, must not be read halfway:
    files that are not there yet would count as removed.
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
    """Return what an edit changes; that includes the inode's ctime, which nobody can set."""
    try:
        found = os.stat(file)  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
