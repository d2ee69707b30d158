"""
The state folder of `postroad up`: what lies in it, and whose it is at a time.

Two locks. `up.lock` is held by the running `up` alone. `store.lock` is held through a descriptor
that nats-server inherits, so it is free only when the server itself is gone: nats-server locks
nothing, and two on one store were seen to lose acknowledged mail. An `up` that finds the store
locked and no other `up` ends the orphan that the pid file names, if it is still the same process.
"""

import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from postroad.cli.errors import CommandError

_LOOKED_AT = 0.5  # seconds; a command that looks whether an `up` runs has the lock for a moment
_ORPHAN_GRACE = 10.0  # seconds an orphaned nats-server has to end before it is killed


def default_state_folder() -> Path:
    """Return $POSTROAD_STATE, else where state is kept when nobody says otherwise."""
    return Path(os.environ.get("POSTROAD_STATE") or usual_state_folder())


def usual_state_folder() -> Path:
    """Return `postroad` in the user's state folder (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "postroad"


@dataclass(frozen=True)
class StateFolder:
    """The folder and the names of what is in it."""

    path: Path

    @property
    def store(self) -> Path:
        """JetStream's files: the mail."""
        return self.path / "nats"

    @property
    def up_lock(self) -> Path:
        """What the running `up` has locked."""
        return self.path / "up.lock"

    @property
    def server_config(self) -> Path:
        """nats-server's configuration, with the token."""
        return self.path / "nats.conf"

    @property
    def server_log(self) -> Path:
        """nats-server's log."""
        return self.path / "nats.log"

    @property
    def server_pid(self) -> Path:
        """The pid and start time of the running nats-server."""
        return self.path / "nats.pid"

    @property
    def access(self) -> Path:
        """Where the commands find the running cluster: URL and token."""
        return self.path / "access.json"

    @property
    def findings(self) -> Path:
        """What is not right with the objects, for `postroad status`."""
        return self.path / "status.json"

    @property
    def server_token(self) -> Path:
        """The token alone, for the processes."""
        return self.path / "nats.token"

    @property
    def cluster_key(self) -> Path:
        """The key that seals secrets in the published configuration."""
        return self.path / "cluster.key"

    @property
    def tls(self) -> Path:
        """The self-signed certificate and its key."""
        return self.path / "tls"

    @property
    def configured(self) -> Path:
        """What --config named at the last start that had one."""
        return self.path / "config.json"

    @property
    def example(self) -> Path:
        """The example manifests in use when no --config is given."""
        return self.path / "example"

    @property
    def sink(self) -> Path:
        """Mail that the example's sink took."""
        return self.path / "sink"

    def prepare(self) -> None:
        """Make the folder, for its owner alone; CommandError when it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
            self.store.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise CommandError(
                f"cannot write the state folder {self.path}: {os.strerror(error.errno or 0)};"
                " choose another with --state"
            ) from error

    def write_private(self, path: Path, text: str) -> None:
        """Replace a file whole, readable by its owner alone from its first byte on."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error  # a write names none
        temporary.replace(path)


def unwritable(error: OSError) -> CommandError:
    """Return what to tell of a file of the state folder that cannot be written."""
    return CommandError(
        f"cannot write {error.filename}: {os.strerror(error.errno or 0)};"
        " make room on its volume, or choose another folder with --state"
    )


def lock_up(state: StateFolder) -> None:
    """Take `up.lock` until this process ends; CommandError when another `up` runs here."""
    path = state.up_lock
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not _wait_for_lock(descriptor, _LOOKED_AT):
        owner = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
        os.close(descriptor)
        raise CommandError(
            f"another `postroad up` (pid {owner}) runs on {state.path};"
            " stop it first, or choose another folder with --state"
        )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        raise unwritable(OSError(error.errno, error.strerror, str(path))) from error


def is_up(state: StateFolder) -> bool:
    """Whether an `up` runs on this folder; CommandError when that may not be looked at."""
    try:
        descriptor = os.open(state.up_lock, os.O_RDONLY)
    except PermissionError as error:
        raise CommandError(
            f"{state.up_lock} cannot be read: it belongs to another user;"
            " run the command as the user that runs `postroad up`"
        ) from error
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def lock_store(state: StateFolder) -> int:
    """Take `store.lock`, ending an orphaned nats-server first. nats-server must inherit it."""
    descriptor = os.open(state.path / "store.lock", os.O_RDWR | os.O_CREAT, 0o600)
    if _try_lock(descriptor):
        return descriptor
    _signal_orphan(state, signal.SIGTERM)
    if _wait_for_lock(descriptor, _ORPHAN_GRACE):
        return descriptor
    _signal_orphan(state, signal.SIGKILL)
    if _wait_for_lock(descriptor, _ORPHAN_GRACE):
        return descriptor
    os.close(descriptor)
    raise CommandError(
        f"a nats-server that is not ours holds {state.store}; end it, or choose another --state"
    )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _wait_for_lock(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _try_lock(descriptor):
            return True
        time.sleep(0.05)  # flock cannot be awaited with a bound without a thread or a signal
    return False


def _signal_orphan(state: StateFolder, number: signal.Signals) -> None:
    try:
        known = json.loads(state.server_pid.read_text())
        pid, started = int(known["pid"]), str(known["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    # The same number may be another process by now: only the same start time is the same process.
    if process_start_time(pid) == started:
        os.kill(pid, number)


def process_start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot; "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
