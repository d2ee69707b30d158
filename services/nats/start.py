"""
Start nats-server as the only one on its folder, and have it read changed certificates again.

It is the entry point of the chart's NATS pods.

Two servers that write to one folder spoil the queue, and nats-server does not look. A pod deleted
with `--force` is gone for Kubernetes at once, and its successor starts on the same volume while the
old server still runs, for a second or, on a busy node, for many. So a server first locks its folder
and waits for whoever holds it. The kernel gives the lock back when the process ends, however it
ends.

Nor is a server started on a full disk, where it may remove a stream whose files it cannot write.

Certificates come from a Secret, whose files Kubernetes replaces when it changes. nats-server reads
them again at a SIGHUP and keeps its connections. A child process watches the folder and sends the
signal to its parent, which is nats-server by then; it ends with it.

Passwords come from files of a Secret, too. nats-server would take them from its environment, where
every program that it starts and every view of the pod finds them. So the configuration is written
anew, with the passwords in place of their names, to a folder in memory that this user alone reads.
It is kept as it was at the start, as are the passwords beside it: a changed password comes into
force with a restart.

It runs in an image without Postroad: it needs Python's standard library and nothing else.
"""

import fcntl
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

_LOOK_EVERY = 5.0  # seconds
_ROOM = 16 * 1024 * 1024  # octets: what a server writes as it reads a large queue
# A text in quotes, which is a URL if it has a password in it; a name on its own; and a comment.
_PARTS = re.compile(r'"[^"\n]*"|\$\w+|#[^\n]*')
_NAME = re.compile(r"\$(\w+)")


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


def wait_for_room(folder: str) -> None:
    """Wait until the disk of a folder has room for what a server writes as it starts."""
    waits = False
    while _free(folder) < _ROOM:
        if not waits:
            print(f"the disk of {folder} is full: waiting for room", file=sys.stderr, flush=True)
        waits = True
        time.sleep(_LOOK_EVERY)


def _free(folder: str) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def configure(configuration: Path, secrets: Path, written: Path) -> None:
    """Write the files of a configuration, and the secrets; those that it names are filled in."""
    known = {path.name: path.read_text().strip() for path in secrets.iterdir() if path.is_file()}
    files = {path.name: path.read_text() for path in configuration.iterdir() if path.is_file()}
    written.mkdir(mode=0o700, exist_ok=True)
    for name, text in [*known.items(), *((name, filled(files[name], known)) for name in files)]:
        descriptor = os.open(written / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)


def filled(text: str, known: Mapping[str, str]) -> str:
    """Return a configuration with secrets in place of their names, such as $CLUSTER_PASSWORD."""

    def fill(part: re.Match[str]) -> str:
        found = part[0]
        if found.startswith("$"):
            return json.dumps(known[found[1:]]) if found[1:] in known else found
        if found.startswith('"'):
            return _NAME.sub(lambda name: quote(known.get(name[1], name[0]), safe="$"), found)
        return found

    return _PARTS.sub(fill, text)


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
    """
    Lock the folder named first, then become the server named next, with the other arguments.

    Before, wait for room on the disk.
    """
    # The first process of a container ignores what it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: None)  # nats-server has yet to read anything
    folder, server, *arguments = sys.argv[1:]
    if changing := os.environ.get("RELOAD_WITH"):
        _watch_apart(Path(changing))  # before the lock, which it must not inherit
    if secrets := os.environ.get("SECRETS"):
        configure(Path(os.environ["CONFIGURATION"]), Path(secrets), Path(os.environ["WRITTEN_TO"]))
    lock(folder)
    wait_for_room(folder)
    os.execv(server, [server, *arguments])  # noqa: S606 - the image names it


if __name__ == "__main__":
    main()
