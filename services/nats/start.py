"""
Start nats-server as the only one on its folder: the entry point of the chart's NATS pods.

Two servers that write to one folder spoil the queue, and nats-server does not look. A pod deleted
with `--force` is gone for Kubernetes at once, and its successor starts on the same volume while the
old server still runs, for a second or, on a busy node, for many. So a server first locks its folder
and waits for whoever holds it. The kernel gives the lock back when the process ends, however it
ends.

It runs in an image without Postroad: it needs Python's standard library and nothing else.
"""

import fcntl
import os
import signal
import sys
from pathlib import Path


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


def main() -> None:
    """Lock the folder named first, then become the server named next, with the other arguments."""
    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder, server, *arguments = sys.argv[1:]
    lock(folder)
    os.execv(server, [server, *arguments])  # noqa: S606 - the image names it


if __name__ == "__main__":
    main()
