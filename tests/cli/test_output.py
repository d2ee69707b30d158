"""Text of peers on the terminal is harmless: in tables, in JSON, in lines and in errors."""

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from postroad.cli.commands.events import line
from postroad.cli.commands.status import DomainMail, Glance, print_glance
from postroad.cli.terminal.output import print_json
from postroad.cli.terminal.tables import Column, print_table
from postroad.spool.agreement import Order, SessionInfo
from postroad.spool.backlog import Tally
from postroad.spool.event import Event, EventType
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad_harness.waiting_mail import Run

STEERING = "\x1b]0;title\x07 \x9b2J \u202egnp.exe \u2066 \x7f"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


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


@pytest.mark.parametrize("kind", EventType)
@pytest.mark.parametrize("name", [each.name for each in fields(Event) if each.type is str])
def test_an_event_is_one_line_whatever_is_stored_in_it(kind: EventType, name: str) -> None:
    """Who accepts mail writes events, and one of them could be written for a terminal."""
    forged: dict[str, Any] = {name: STEERING}
    event = Event(type=kind, at=NOW, recipients=(f"{STEERING}@x.example",), **forged)
    assert line(event).plain.isprintable()


def test_status_shows_what_processes_say_and_does_not_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = SessionInfo("1", STEERING, STEERING, STEERING, 1, NOW)
    mail = DomainMail(STEERING, {WaitKind.HELD: Tally(1)}, STEERING)
    glance = Glance(NOW, STEERING, [told], [mail], [(ordered(), 0)], {STEERING: STEERING})
    print_glance(glance, wide=True)
    shown = capsys.readouterr().out
    assert all(each.isprintable() for each in shown.split("\n"))
    assert shown.count(r"\u202egnp.exe") == 11


def ordered() -> Order:
    selection = Selection(domain=STEERING)
    return Order(STEERING, STEERING, selection, NOW, NOW, None, STEERING)


async def test_an_order_that_is_cancelled_is_one_line(spool: JetStreamSpool, run: Run) -> None:
    now = datetime.now(UTC)
    order = replace(ordered(), order_id="abc", placed=now, until=now + timedelta(minutes=5))
    await spool.orders.place(order)
    code, out, _ = await run("queue", "cancel", "abc")
    assert code == 0
    assert out.rstrip("\n").isprintable()
    assert out.count(r"\u202egnp.exe") == 2
