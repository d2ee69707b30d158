"""The state folder of a `postroad up` as commands see it, for a queue that a test runs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postroad.cli.state.access import QueueAccess, write_access
from postroad.cli.state.folder import StateFolder


@contextmanager
def noted_up(
    folder: Path, url: str, *, uid: int | None = None, running: bool = True
) -> Iterator[Path]:
    """Note that an `up` has its queue at `url`, run by the user `uid`, and hold its lock."""
    state = StateFolder(folder)
    state.prepare()
    write_access(state, QueueAccess(url, "a-token", os.geteuid() if uid is None else uid))
    with state.up_lock.open("w") as lock:
        if running:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield state.path
