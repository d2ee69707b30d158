"""
Start nats-server as the only one on its folder, and have it read changed certificates again.

It is the entry point of the chart's NATS pods.

Two servers that write to one folder spoil the queue, and nats-server does not look. A pod deleted
with `--force` is gone for Kubernetes at once, and its successor starts on the same volume while the
old server still runs, for a second or, on a busy node, for many. So a server first locks its folder
and waits for whoever holds it. The kernel gives the lock back when the process ends, however it
ends.

Certificates come from a Secret, whose files Kubernetes replaces when it changes. nats-server reads
them again at a SIGHUP and keeps its connections. A child process watches the folder and sends the
signal to its parent, which is nats-server by then; it ends with it.

It runs in an image without Postroad: it needs Python's standard library and nothing else.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

_LOOK_EVERY = 5.0  # seconds


def lock(folder: str) -> None:
    """
    Lock a folder for this process and what it executes; wait while another one holds it.

    A file system without locks is used as it is, and said so.
    """
    descriptor = os.open(Path(folder, "nats-server.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(descriptor, True)  # it is held for as long as the server has it open
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"{folder} is in use: waiting for the nats-server there to end", file=sys.stderr)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        print(f"{folder} cannot be locked: {error}", file=sys.stderr)


def watch(folder: Path, server: int) -> None:
    """Tell a server when the content of a folder has changed, for as long as it is our parent."""
    known = _content(folder)
    while os.getppid() == server:
        time.sleep(_LOOK_EVERY)
        found = _content(folder)
        if found and found != known:
            known = found
            print(f"{folder} has changed: nats-server reads it again", file=sys.stderr, flush=True)
            os.kill(server, signal.SIGHUP)


def _content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, nothing while they are being replaced."""
    try:
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    except OSError:
        return {}


def _watch_apart(folder: Path) -> None:
    """Watch a folder in a process of its own, for the server that this one becomes."""
    server = os.getpid()
    if os.fork() == 0:
        try:
            watch(folder, server)
        finally:
            os._exit(0)


def main() -> None:
    """Lock the folder named first, then become the server named next, with the other arguments."""
    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: None)  # nats-server has yet to read anything
    folder, server, *arguments = sys.argv[1:]
    if changing := os.environ.get("RELOAD_WITH"):
        _watch_apart(Path(changing))  # before the lock, which it must not inherit
    lock(folder)
    os.execv(server, [server, *arguments])  # noqa: S606 - the image names it


if __name__ == "__main__":
    main()
