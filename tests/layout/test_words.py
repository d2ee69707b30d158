"""
One word for each thing: what users read of a class, a state or an outcome is in the glossary.

The metrics' page, the commands, /backlog and the manifests are compared with docs/glossary.md.
"""

import re
from collections import Counter
from pathlib import Path

import typer
from typer.core import TyperGroup

from postroad.cli.app import app
from postroad.cli.queue.listing import row
from postroad.mail.traffic import TrafficClass
from postroad.manifests.generate import docs
from postroad.operator.jetstream.backlog import as_json
from postroad.spool.backlog import Backlog
from postroad.spool.interface import Queued
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.selection import WaitKind
from postroad.telemetry import metrics_page
from postroad.testing.queue.queued_mail import now, record

GLOSSARY = (Path(__file__).parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")
ROWS = [row.split(" | ") for row in GLOSSARY.splitlines() if re.match(r"\| (?!term|-)", row)]


def words(term: str) -> set[str]:
    """Return the words that a row of the glossary lists: `...: a, b (...) or c; ...`."""
    [text] = [cells[1] for cells in ROWS if cells[0] == f"| {term}"]
    listed = re.sub(r" \(.*?\)", "", text.split(";")[0]).split(": ")[-1]
    return set(re.split(r", | or ", listed))


def label(metric: str, name: str) -> set[str]:
    """Return the values of a metric's label, as its page has them."""
    [section] = [s for s in metrics_page.page().split("\n### ") if s.startswith(f"`{metric}`")]
    [values] = re.findall(rf"^- `{name}`: (.*)$", section, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", values))


def listed(name: str, kind: WaitKind, traffic_class: TrafficClass) -> object:
    """Return a field of a queued record, as `queue list --json` has it."""
    mail = record("1", traffic_class=traffic_class)
    return row(Queued(mail, kind, None, Key(QueueStream.WAITING, 0, 1), "", now()))[name]


def options(*names: str) -> set[str]:
    """Return the options of a command."""
    command = typer.main.get_command(app)
    for name in names:
        assert isinstance(command, TyperGroup)
        found = command.resolve_command(command.context_class(command), [name])[1]
        assert found is not None
        command = found
    return {option for parameter in command.params for option in parameter.opts}


def test_each_term_has_one_row() -> None:
    terms = Counter(cells[0] for cells in ROWS)
    assert len(terms) > 40
    assert [term for term, rows in terms.items() if rows > 1] == []


def test_a_traffic_class_has_one_word() -> None:
    known = words("traffic class")
    assert label("postroad_queue_ready", "class") == known
    assert {listed("class", WaitKind.READY, each) for each in TrafficClass} == known
    [manifests] = re.findall(r"^\| `spec\.class` \| (.*?) \|", docs.page(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", manifests)) == {word.title() for word in known}
    backlog = as_json(Backlog({}, 0, 0), {}).keys()
    assert backlog == {"ready", "pools", *(f"ready{word.title()}" for word in known)}


def test_a_queue_state_has_one_word() -> None:
    known = words("queue state")
    assert label("postroad_queue_oldest_seconds", "kind") == known
    assert label("postroad_queue_waiting", "kind") == known - {"ready"}
    assert {listed("state", kind, TrafficClass.BULK) for kind in WaitKind} == known
    assert {f"--{word}" for word in known - {"ready"}} <= options("queue", "list")


def test_an_outcome_has_one_word() -> None:
    assert label("postroad_delivery_recipients_total", "outcome") == words("outcome")
