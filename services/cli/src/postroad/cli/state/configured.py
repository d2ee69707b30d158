"""
Notes which manifests a state folder belongs to, so that the example never runs on a real relay.

Without --config, `up` runs the example, whose only Relay sends all mail to a sink. On the state
folder of a relay with its own manifests, all queued mail would be lost in that sink. So `up` writes
into the folder what --config named. If nothing is noted (an older release, a restored queue), the
published routes show whose queue it is.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.cli.state.folder import StateFolder
from postroad.policy.model import Domain, EgressPath, Entry, Relay

Routes = Mapping[str, EgressPath]  # by their names


def note_config(state: StateFolder, paths: Sequence[Path]) -> None:
    """Note what --config named; call it before any mail is accepted or sent."""
    text = json.dumps({"config": [str(path.absolute()) for path in paths]})
    if _read(state) != text:
        state.write_private(state.configured, text)


def refuse_example(state: StateFolder) -> None:
    """Raise CommandError if the folder is noted as that of a relay with its own manifests."""
    noted = _read(state)
    if noted is None:
        return
    try:
        paths = [str(path) for path in json.loads(noted)["config"]]
    except (ValueError, KeyError, TypeError):
        paths = []
    flags = " ".join(f"--config {shlex.quote(path)}" for path in paths) or "--config"
    raise not_the_example(state, flags)


def not_the_example(state: StateFolder, flags: str = "--config") -> CommandError:
    """Return the error for starting the example on the state folder of another relay."""
    return CommandError(
        f"the state folder {state.path} is that of a relay with manifests of its own, whose mail"
        f" the example's sink would take; give {flags}, or choose another folder with --state",
        code=2,
    )


def routes(entries: Iterable[Entry]) -> Routes:
    """Return the egress paths of these objects, by name."""
    paths = [each.egress_path for each in entries if isinstance(each, Relay)]
    received = [each.receive for each in entries if isinstance(each, Domain)]
    paths += [each.egress_path for each in received if each is not None]
    return {path.name: path for path in paths}


def is_the_examples(published: Routes, example: Routes | None) -> bool:
    """
    Whether the example may run on a queue that was published with these routes.

    `example` are the routes in the example's files, which users may edit; None if there are no
    files yet. A published route that does not lead to the sink must be in them, and must not lead
    to the sink there.
    """
    if not published:
        return example is not None
    away = [name for name, path in published.items() if not _is_sink(path)]
    return all(
        example is not None and name in example and not _is_sink(example[name]) for name in away
    )


def _is_sink(path: EgressPath) -> bool:
    hosts = [smarthost.host for smarthost in path.smarthosts]
    return path.name == "relay:default/sink" and hosts == ["127.0.0.1"]


def _read(state: StateFolder) -> str | None:
    try:
        return state.configured.read_text()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""  # the note exists, even if it cannot be read
