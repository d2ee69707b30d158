"""Text of peers on the terminal is harmless: in tables, in JSON, in lines and in errors."""

import json
from datetime import UTC, datetime

import pytest

from postroad.cli.commands.events import line
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.tables import Column, print_table
from postroad.spool.event import Event, EventType

STEERING = "\x1b]0;title\x07 \x9b2J \u202egnp.exe \u2066 \x7f"


def test_a_table_shows_what_it_does_not_obey(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((Column("REPLY"),), [(STEERING,)], empty="")
    shown = capsys.readouterr().out
    assert all(each.isprintable() for each in shown.split("\n"))
    assert r"\u202egnp.exe" in shown


def test_json_is_escaped_and_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"reply": STEERING, "größe": 1})
    shown = capsys.readouterr().out
    assert shown.rstrip("\n").isprintable()
    assert json.loads(shown) == {"reply": STEERING, "größe": 1}
    assert "größe" in shown


def test_an_event_is_one_line() -> None:
    event = Event(
        type=EventType.BOUNCE,
        at=datetime(2030, 1, 1, tzinfo=UTC),
        queue_id="01A",
        recipients=(f"{STEERING}@x.example",),
        host=STEERING,
        reply=STEERING,
    )
    assert line(event).plain.isprintable()
