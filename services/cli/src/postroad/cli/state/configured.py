"""
Which manifests a state folder is the relay of, so that no start mistakes it for the example.

Without --config `up` runs the example, whose one Relay leads every destination into a sink. On the
state of a relay with manifests of its own that would be the end of all mail that waits there. What
--config named is noted in the folder; where nothing is noted (an older release, a restored queue)
the queue itself tells, by the routes that were published last.
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
    """Note what --config named; before mail is taken or sent under it."""
    text = json.dumps({"config": [str(path.absolute()) for path in paths]})
    if _read(state) != text:
        state.write_private(state.configured, text)


def refuse_example(state: StateFolder) -> None:
    """Raise CommandError when the folder is noted as that of a relay with manifests of its own."""
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
    """Return what to tell who starts the example on the state of another relay."""
    return CommandError(
        f"the state folder {state.path} is that of a relay with manifests of its own, whose mail"
        f" the example's sink would take; give {flags}, or choose another folder with --state",
        code=2,
    )


def routes(entries: Iterable[Entry]) -> Routes:
    """Return how mail leaves by these objects."""
    paths = [each.egress_path for each in entries if isinstance(each, Relay)]
    received = [each.receive for each in entries if isinstance(each, Domain)]
    paths += [each.egress_path for each in received if each is not None]
    return {path.name: path for path in paths}


def is_the_examples(published: Routes, example: Routes | None) -> bool:
    """
    Whether a queue under these routes may be led by the example.

    `example` are the routes of the example's files, which people edit, None before there are any.
    A route that did not lead into the sink has to be in them, and must not lead there now.
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
        return ""  # it is there: that much is known
