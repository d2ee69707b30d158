"""
Which manifests a state folder is the relay of, noted so that no start mistakes it for the example.

Without --config `up` runs the example, whose one Relay leads every destination into a sink. On the
state of a relay with manifests of its own that would be the end of all mail that waits there.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.cli.state.folder import StateFolder


def note_config(state: StateFolder, paths: Sequence[Path]) -> None:
    """Note what --config named; before mail is taken or sent under it."""
    text = json.dumps({"config": [str(path.absolute()) for path in paths]})
    if _read(state) != text:
        state.write_private(state.configured, text)


def refuse_example(state: StateFolder) -> None:
    """Raise CommandError when the folder is that of a relay with manifests of its own."""
    noted = _read(state)
    if noted is None:
        return
    try:
        paths = [str(path) for path in json.loads(noted)["config"]]
    except (ValueError, KeyError, TypeError):
        paths = []
    flags = " ".join(f"--config {shlex.quote(path)}" for path in paths) or "--config"
    raise CommandError(
        f"the state folder {state.path} is that of a relay with manifests of its own, whose mail"
        f" the example's sink would take; give {flags}, or choose another folder with --state",
        code=2,
    )


def _read(state: StateFolder) -> str | None:
    try:
        return state.configured.read_text()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""  # it is there: that much is known
