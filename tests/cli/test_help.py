"""Every help text, as shown on a terminal of 80 columns."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from postroad.cli.app import app
from postroad.cli.terminal.help import Unloaded, unwrapped


def walk(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Yield each command below one: its words, the command, and what the list above says of it."""
    for name, below in command.commands.items():
        assert isinstance(below, Unloaded)
        loaded = below.loaded()
        yield (*words, name), loaded, below.help or ""
        if hasattr(loaded, "commands"):
            yield from walk(loaded, *words, name)


LISTED = list(walk(typer.main.get_command(app)))
COMMANDS = [(), *(words for words, _, _ in LISTED)]


def help_of(words: tuple[str, ...], columns: int = 80) -> str:
    environment = {"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*words, "--help"], env=environment)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_help_speaks_of_types(words: tuple[str, ...]) -> None:
    text = help_of(words)
    assert re.findall(r"<(?:bool|str|int|float|list|Path)\b[^>]*>?", text) == []
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_value_is_cut_in_mid_word(words: tuple[str, ...]) -> None:
    text = help_of(words)
    for word in set(re.findall(r"[A-Z][A-Z-]+(?:[\[:=,…][\w\[\]:=,…]*)?", help_of(words, 300))):
        assert word in text, f"{word} is cut"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_paragraph_is_as_wide_as_the_terminal(words: tuple[str, ...]) -> None:
    head = help_of(words, 2000).partition("╭")[0]
    lines = [line.strip() for line in head.splitlines() if line.strip()]
    # None begins in the middle of a sentence, where a line of the source did.
    assert [line for line in lines if not re.match(r"[A-Z$`-]|Usage:", line)] == []


def test_a_paragraph_is_one_line_and_an_example_keeps_its_break() -> None:
    text = "First\n    goes on.\n\n    Example: a \\\n    --b\n    "
    assert unwrapped(text) == "First goes on.\n\nExample: a \\\n--b"


@pytest.mark.parametrize(("words", "command", "said"), LISTED, ids=lambda each: str(each)[:40])
def test_a_list_says_of_a_command_what_its_own_help_begins_with(
    words: tuple[str, ...], command: Any, said: str
) -> None:
    assert command.name == words[-1]
    assert command.help.split("\n\n")[0] == said


@pytest.mark.parametrize("action", ["retry", "hold", "bounce", "delete"])
def test_an_order_says_that_it_is_not_for_later_mail(action: str) -> None:
    text = " ".join(help_of(("queue", action)).split())
    assert "mail that is in the queue now, and not to mail that arrives later" in text


def test_a_suspension_says_that_it_is_for_later_mail_too() -> None:
    text = " ".join(help_of(("queue", "suspend")).split())
    assert "also of mail that is accepted meanwhile" in text
