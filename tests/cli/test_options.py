"""The values of options that several commands share follow the same rules."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from postroad.cli.app import app
from postroad.cli.errors import CommandError
from postroad.cli.terminal.help import Unloaded
from postroad.cli.terminal.options import (
    listen_address,
    listener,
    mail_address,
    mail_domain,
    server_address,
)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("192.0.2.1", "192.0.2.1:25"),
        ("192.0.2.1:2525", "192.0.2.1:2525"),
        ("[::1]", "[::1]:25"),
        ("[::1]:2525", "[::1]:2525"),
        ("localhost", "{local}:25"),
    ],
)
def test_every_address_may_leave_out_its_port(text: str, read: str) -> None:
    server = server_address(text, option="--server", default_port=25)
    here = listen_address(text, option="--relay", default_port=25)
    assert str(server) == read.format(local="localhost")
    assert str(here) == read.format(local="127.0.0.1")


def test_a_server_is_called_what_its_certificate_and_sni_have() -> None:
    server = server_address("MX.Bücher.Example.", option="--server", default_port=25)
    assert str(server) == "mx.xn--bcher-kva.example:25"


def test_a_wrong_address_is_quoted_as_it_came() -> None:
    with pytest.raises(CommandError, match=r"^--relay: 'relay' names a host"):
        listen_address("relay", option="--relay", default_port=25)


@pytest.mark.parametrize("text", ["", "none", "None"])
def test_a_listener_can_be_switched_off(text: str) -> None:
    assert listener(text, option="--relay", default_port=25) is None


@pytest.mark.parametrize("text", ["a@b.example", "a@[192.0.2.1]", "root@localhost", "ä@b.example"])
def test_a_mail_address_passes_as_it_came(text: str) -> None:
    assert mail_address(text, option="--to") == text


@pytest.mark.parametrize("text", ["a", "a@", "@b.example", "a@b", "a@b..example", "a b@c.example"])
def test_what_is_no_mail_address_names_its_flag(text: str) -> None:
    with pytest.raises(CommandError, match=r"^--to: "):
        mail_address(text, option="--to")


@pytest.mark.parametrize("text", ["", "b", "b..example", "b example"])
def test_what_is_no_domain_names_its_flag(text: str) -> None:
    with pytest.raises(CommandError, match=r"^--domain: "):
        mail_domain(text, option="--domain")


def commands(command: Any, *words: str) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Yield each command that does something, with its words."""
    if isinstance(command, Unloaded):
        command = command.loaded()
    below = getattr(command, "commands", {})
    if not below:
        yield command, words
    for name, each in below.items():
        yield from commands(each, *words, name)


VALUES = [
    pytest.param(command, option.opts[-1], id=f"{' '.join(words)} {option.opts[-1]}")
    for command, words in commands(typer.main.get_command(app))
    for option in command.params
    if option.param_type_name == "option" and not option.is_flag
]
assert len(VALUES) > 100, "these are all flags of all commands"


@pytest.mark.parametrize("value", ["", "\N{SUPERSCRIPT TWO}", "-1", "nan", "1e999", "9" * 5000])
@pytest.mark.parametrize(("command", "option"), VALUES)
def test_a_flag_takes_a_value_or_is_refused_in_words_of_ours(
    command: Any, option: str, value: str
) -> None:
    needed = [
        word
        for each in command.params
        if each.required
        for word in ([each.opts[0], "x"] if each.param_type_name == "option" else ["x"])
    ]
    with suppress(CommandError):
        command.make_context("postroad", [*needed, option, value])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("send --to a@b.example --tls x", "--tls takes none, starttls or implicit, not 'x'"),
        ("queue list --limit 0", "--limit takes a whole number from 1 on, not '0'"),
        ("queue list -o yaml", "--output takes wide or json, not 'yaml'"),
        ("load --sessions 2001", "--sessions takes a whole number from 1 to 2000, not '2001'"),
        ("load --rate inf", "--rate takes a number from 0.001 on, not 'inf'"),
        ("load --for 0", "--for takes a duration such as 30s, 15m or 2d, not '0'"),
        ("load --size 4KiB:x", "--size SIZE: takes a number from 0.001 to 1e+09, not 'x'"),
        ("load --size 2GiB", "--size takes sizes up to 1GiB, not '2GiB'"),
        (
            "events --since soon",
            "--since takes a duration such as 30s, 15m or 2d, 365d at most, not 'soon'",
        ),
        ("sink --defer 1.5", "--defer takes a number from 0 to 1, not '1.5'"),
        (
            "up --workers delivery=²",
            "--workers takes ingress=N,delivery=N with N from 1 to 64, not 'delivery=²'",
        ),
        ("up --config=", "--config takes a path, and got an empty one"),
        ("queue hold --all --reason \udcff", "--reason takes one line of at most 500 characters"),
        ("send --to a@b.example --subject a\nb", "--subject takes one line of text, not 'a\\nb'"),
        ("send --to a@b.example --body \udcff", "--body takes text in UTF-8"),
        ("send --to a@b.example --header From:<", "--header: a field From cannot be '<'"),
        ("send --to a@b.example --user \udcff", "--user takes a name in UTF-8, not '\\udcff'"),
    ],
    ids=ascii,
)
def test_a_wrong_value_is_one_sentence(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTROAD_PASSWORD", "secret")
    result = CliRunner().invoke(app, words.split(" "))
    assert isinstance(result.exception, CommandError)
    assert (str(result.exception), result.exception.code) == (said, 2)
