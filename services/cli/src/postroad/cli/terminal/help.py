"""
Commands that are imported only when they are used, and tidy help texts.

A list of commands needs only their names and a sentence for each. To import all commands for it
would take a second of processor time. So a `CommandEntry` has the text of the list, and the module
to import.

Typer keeps the line breaks of the source in a paragraph of help, and shows a flag as `<bool>`.
Here, paragraphs fill the width of the terminal, flags show no type, and the `metavar` of an option
says what value it takes.
"""

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from postroad.cli.terminal.option_groups import spread

_BREAK_OF_SOURCE = re.compile(r"(?<![\\\n])\n(?!\n)")  # a backslash keeps the break of an example


class CliCommand(TyperCommand):
    """A command whose help is tidy."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.help = unwrapped(self.help or "")

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, --help among them."""
        return [_without_type(each) for each in super().get_params(ctx)]


class CommandEntry(NamedTuple):
    """A command in a list; `source` is `module:name` of a function or of a Typer."""

    name: str
    summary: str
    source: str


class Unloaded(TyperCommand):
    """A command that is not imported yet; this is enough to list it."""

    def __init__(self, entry: CommandEntry) -> None:
        super().__init__(entry.name, help=entry.summary)
        self._source = entry.source

    def loaded(self) -> Any:
        """Import the command and return it."""
        module, _, name = self._source.partition(":")
        found = getattr(import_module(module), name)
        if not isinstance(found, typer.Typer):
            alone = Commands(add_completion=False)
            alone.command(self.name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = self.name
        return command


class CliGroup(TyperGroup):
    """A group of commands whose help is tidy."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, imported, and the arguments left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.loaded() if isinstance(command, Unloaded) else command, rest

    def get_params(self, ctx: Any) -> Any:
        """Return the options, --help among them."""
        return [_without_type(each) for each in super().get_params(ctx)]


class Commands(typer.Typer):
    """A group of commands: `entries`, and those registered with `command`."""

    def __init__(self, entries: Iterable[CommandEntry] = (), **settings: Any) -> None:
        class Listed(CliGroup):
            def __init__(self, **more: Any) -> None:
                super().__init__(**more)
                for entry in entries:
                    self.add_command(Unloaded(entry))

        super().__init__(cls=Listed, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """Return a decorator that registers a command, and spreads its groups of options."""
        register = super().command(name, cls=CliCommand, **settings)
        return lambda command: register(spread(command))


def unwrapped(text: str) -> str:
    """Return a docstring with each paragraph on one line."""
    return _BREAK_OF_SOURCE.sub(" ", inspect.cleandoc(text))


def _without_type(parameter: Any) -> Any:
    """Hide the type of flags, which take no value, and of arguments, whose name says enough."""
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        parameter.metavar = ""
    elif isinstance(parameter, TyperArgument):
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    return parameter
