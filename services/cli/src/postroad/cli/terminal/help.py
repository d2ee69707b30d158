"""
Commands that are imported when they are used, and help texts as they are read.

A list of commands needs their names and a sentence each. To import all of them for it takes a
second of processor time; so an `Entry` says what the list shows, and where the command is.

Typer breaks a paragraph of help where the source does, and shows a flag as `<bool>`. Here lines are
as long as the terminal has them, and options that take a value say in a word of their own
(`metavar`) what they take.
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
    """A command as a list shows it; `source` is `module:name` of a function or of a Typer."""

    name: str
    summary: str
    source: str


class Unloaded(TyperCommand):
    """A command that has not been imported: enough to list it."""

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
    """Commands under one name, whose help is tidy."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name, imported, and the arguments left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.loaded() if isinstance(command, Unloaded) else command, rest

    def get_params(self, ctx: Any) -> Any:
        """Return the options, --help among them."""
        return [_without_type(each) for each in super().get_params(ctx)]


class Commands(typer.Typer):
    """Commands under one name: `entries`, and what is registered besides."""

    def __init__(self, entries: Iterable[CommandEntry] = (), **settings: Any) -> None:
        class Listed(CliGroup):
            def __init__(self, **more: Any) -> None:
                super().__init__(**more)
                for entry in entries:
                    self.add_command(Unloaded(entry))

        super().__init__(cls=Listed, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """Return what registers a function as a command, groups of options spread."""
        register = super().command(name, cls=CliCommand, **settings)
        return lambda command: register(spread(command))


def unwrapped(text: str) -> str:
    """Return a docstring with each paragraph on one line."""
    return _BREAK_OF_SOURCE.sub(" ", inspect.cleandoc(text))


def _without_type(parameter: Any) -> Any:
    """Show no type of an option without a value, nor of an argument, whose name says enough."""
    if isinstance(parameter, TyperOption) and parameter.is_flag:
        parameter.metavar = ""
    elif isinstance(parameter, TyperArgument):
        parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    return parameter
