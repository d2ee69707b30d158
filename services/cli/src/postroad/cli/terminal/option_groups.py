"""
Groups of options: a dataclass, whose fields are options, as one parameter of a command.

Typer wants one parameter for each option. Here, a command may have a dataclass as a parameter
instead. It is replaced by the options of its fields before Typer sees the command. So options that
several commands share are written once.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

Command = Callable[..., None]


def spread(command: Command) -> Command:
    """Return a command with its groups replaced by their options; itself if it has no group."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    if not groups:
        return command
    own = inspect.signature(command).parameters.values()
    shown = [_keyword(each.name, each.default, hints[each.name]) for each in own]
    members = {name: _members(kind) for name, kind in groups.items()}

    @wraps(command)
    def run(**values: Any) -> None:
        given = {
            name: groups[name](**{each.name: values.pop(each.name) for each in each_member})
            for name, each_member in members.items()
        }
        command(**given, **values)

    parameters = [each for one in shown for each in members.get(one.name, [one])]
    # Typer reads names and defaults from the signature, and types from the annotations.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _members(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [_keyword(each.name, each.default, hints[each.name]) for each in fields(group)]


def _keyword(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
