"""
Help texts as they are read: lines as long as the terminal has them, and no types of Python.

Typer breaks a paragraph where the source does, and shows a flag as `<bool>`. Options of ours that
take a value say in a word of their own (`metavar`) what they take.
"""

import inspect
import re
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from postroad.cli.option_groups import spread

_BREAK_OF_SOURCE = re.compile(r"(?<![\\\n])\n(?!\n)")  # a backslash keeps the break of an example


class Command(TyperCommand):
    """A command whose help is tidy."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.help = unwrapped(self.help or "")

    def get_params(self, ctx: Any) -> Any:
        """Return the options and arguments, --help among them."""
        return [_without_type(each) for each in super().get_params(ctx)]


class Group(TyperGroup):
    """Commands under one name, whose help is tidy."""

    def get_params(self, ctx: Any) -> Any:
        """Return the options, --help among them."""
        return [_without_type(each) for each in super().get_params(ctx)]


class Commands(typer.Typer):
    """What commands are registered with."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """Return what registers a function as a command, groups of options spread."""
        register = super().command(name, cls=Command, **settings)
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
