"""
How the commands reach the queue of the running `up`, in a file of the state folder.

It is there while `up` runs, for its owner alone. The token is new at each start, so what a killed
`up` leaves behind opens nothing.
"""

import json
from dataclasses import asdict, dataclass

from postroad.cli.state.folder import StateFolder


@dataclass(frozen=True, slots=True)
class QueueAccess:
    """Where nats-server listens, its token, and the user id that `up` runs it as."""

    url: str
    token: str
    uid: int | None = None  # not told by releases that did not note it


def write_access(state: StateFolder, access: QueueAccess) -> None:
    """Replace the file; OSError when that cannot be done."""
    state.write_private(state.access, json.dumps(asdict(access)))


def read_access(state: StateFolder) -> QueueAccess | None:
    """Return what stands in the file; None when there is none, or it cannot be read."""
    try:
        return QueueAccess(**json.loads(state.access.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove_access(state: StateFolder) -> None:
    """Remove the file: whoever connects would find another user's program, or nobody."""
    state.access.unlink(missing_ok=True)
