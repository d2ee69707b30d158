"""A state folder like that of a running `postroad up`, for commands on a test's own queue."""

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
    """Note in the folder that the queue is at `url`, run by user `uid`; hold the lock of `up`."""
    state = StateFolder(folder)
    state.prepare()
    write_access(state, QueueAccess(url, "a-token", os.geteuid() if uid is None else uid))
    with state.up_lock.open("w") as lock:
        if running:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield state.path
