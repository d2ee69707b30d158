"""
The state folder of `postroad up`: its files, and the locks that allow one relay at a time.

There are two locks. The running `up` holds `up.lock`. nats-server inherits the descriptor that
holds `store.lock`, so that lock is free only when the server itself is gone. This is needed because
nats-server does not lock its store, and two servers on one store were seen to lose acknowledged
mail. If the store is locked and no other `up` runs, `up` ends the orphaned server that the pid file
names, after a check that it is still the same process.
"""

import fcntl
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.policy.secrets.seal import Reader

_LOOKED_AT = 0.5  # seconds; a command that checks whether an `up` runs holds the lock briefly
_ORPHAN_GRACE = 10.0  # seconds an orphaned nats-server has to end before it is killed


def default_state_folder() -> Path:
    """Return $POSTROAD_STATE, or else the usual state folder."""
    return Path(os.environ.get("POSTROAD_STATE") or usual_state_folder())


def usual_state_folder() -> Path:
    """Return `postroad` in the user's state folder (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "postroad"


@dataclass(frozen=True)
class StateFolder:
    """The folder and the names of its files."""

    path: Path

    @property
    def store(self) -> Path:
        """JetStream's files: the mail."""
        return self.path / "nats"

    @property
    def up_lock(self) -> Path:
        """The lock file of the running `up`."""
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
        """What is wrong with the objects, for `postroad status`."""
        return self.path / "status.json"

    @property
    def server_token(self) -> Path:
        """The file with the token alone, for the processes."""
        return self.path / "nats.token"

    def key_of(self, reader: Reader) -> Path:
        """Return the key that seals the secrets of the published configuration for a role."""
        return self.path / f"{reader}.key"

    @property
    def tls(self) -> Path:
        """The self-signed certificate and its key."""
        return self.path / "tls"

    @property
    def configured(self) -> Path:
        """What --config named at the last start with --config."""
        return self.path / "config.json"

    @property
    def example(self) -> Path:
        """The example manifests in use when no --config is given."""
        return self.path / "example"

    @property
    def sink(self) -> Path:
        """Mail that the example's sink has received."""
        return self.path / "sink"

    def prepare(self) -> None:
        """Make the folder, for its owner alone; CommandError if it cannot be used."""
        if "," in str(self.path):  # commas separate the files of the cluster key
            raise CommandError(
                f"the state folder {self.path} has a comma in its path; choose another with --state"
            )
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
        """Replace a file as a whole; only its owner can read it, from the first byte on."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
        except OSError as error:
            # An error of write() names no file.
            raise OSError(error.errno, error.strerror, str(path)) from error
        temporary.replace(path)


def unwritable(error: OSError) -> CommandError:
    """Return the error for a file of the state folder that cannot be written."""
    return CommandError(
        f"cannot write {error.filename}: {os.strerror(error.errno or 0)};"
        " make room on its volume, or choose another folder with --state"
    )


def lock_up(state: StateFolder) -> None:
    """Hold `up.lock` until this process ends; CommandError if another `up` runs here."""
    path = state.up_lock
    descriptor = _open_lock(path)
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
    """Whether an `up` runs on this folder; CommandError if the lock may not be read."""
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
    """End an orphaned nats-server and take `store.lock`, which nats-server must then inherit."""
    descriptor = _open_lock(state.path / "store.lock")
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


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(
            f"cannot open {path}: {os.strerror(error.errno or 0)};"
            " run as the user that owns it, or choose another folder with --state"
        ) from error


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
        time.sleep(0.05)  # flock has no time limit without a thread or a signal
    return False


def _signal_orphan(state: StateFolder, number: signal.Signals) -> None:
    try:
        known = json.loads(state.server_pid.read_text())
        pid, started = int(known["pid"]), str(known["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    # Another process may have the same pid by now: the start time tells them apart.
    if process_start_time(pid) == started:
        os.kill(pid, number)


def process_start_time(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since boot; "" if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
