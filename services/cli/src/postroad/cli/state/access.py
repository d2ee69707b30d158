"""
The file in the state folder that tells commands how to reach the queue of the running `up`.

It exists while `up` runs, and only its owner can read it. The token is new at each start, so a file
that a killed `up` has left behind is useless.
"""

import json
from dataclasses import asdict, dataclass

from postroad.cli.state.folder import StateFolder


@dataclass(frozen=True, slots=True)
class QueueAccess:
    """Where nats-server listens, its token, and the user id that `up` runs it as."""

    url: str
    token: str
    uid: int | None = None  # None in files of older releases


def write_access(state: StateFolder, access: QueueAccess) -> None:
    """Replace the file; OSError if that fails."""
    state.write_private(state.access, json.dumps(asdict(access)))


def read_access(state: StateFolder) -> QueueAccess | None:
    """Return the content of the file; None if there is none, or it cannot be read."""
    try:
        return QueueAccess(**json.loads(state.access.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove_access(state: StateFolder) -> None:
    """Remove the file: its port may soon belong to another user's program, or to none."""
    state.access.unlink(missing_ok=True)
