"""
docs/coming-from.md: what it names exists, and its defaults are those of the code.

Fields, variables and metrics are looked up where their own pages are made, and the program itself
reads the commands. So whoever renames or removes one must correct the page.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from postroad.acceptance import verdicts
from postroad.cli import settings_page
from postroad.cli.app import app
from postroad.ingress import replies
from postroad.manifests.generate import docs
from postroad.smtp.reply import Reply
from postroad.telemetry import metrics_page

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "coming-from.md").read_text(encoding="utf-8")
SYSTEMS = ("Postfix", "KumoMTA", "Postal", "SES")
SPAN = re.compile(r"`([^`\n]+)`")
OURS = re.compile(r"postroad[ _]|POSTROAD_|(?:Domain|Relay|Quota|Client)\.")
NAMED = sorted({span for span in SPAN.findall(PAGE) if OURS.match(span)})


class Declared(NamedTuple):
    """A field or a variable as its own page has it."""

    type: str
    default: str


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.removeprefix("| ").removesuffix(" |").split(" |")]


def tables() -> Iterator[list[dict[str, str]]]:
    """Return the page's tables; our default and theirs are `default` and `their default`."""
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        header, _, *rows = table.splitlines()
        names = cells(header)
        if "default" in names:
            names[names.index("default")] = "their default"
        yield [dict(zip(names, cells(row), strict=True)) for row in rows]


def declared_fields() -> Iterator[tuple[str, Declared]]:
    for section in docs.page().split("\n## ")[1:]:
        for line in section.splitlines():
            if line.startswith(("| `spec.", "| `status.")):
                name, kind, default, *_ = cells(line)
                known = default if name.startswith("`spec.") else ""
                yield f"{section.split()[0]}.{name.strip('`')}", Declared(kind, known)


def declared_variables() -> Iterator[tuple[str, Declared]]:
    for line in settings_page.page().splitlines():
        if line.startswith("| `POSTROAD_"):
            name, default, *_ = cells(line)
            yield name.strip("`"), Declared("", default)


def ours(row: Mapping[str, str]) -> str:
    return row.get("Postroad", "")


DECLARED: Mapping[str, Declared] = dict([*declared_fields(), *declared_variables()])
METRICS = set(re.findall(r"^### `(\w+)`$", metrics_page.page(), re.MULTILINE))


def read_command(line: str) -> None:
    """Read a command as the program would, without running it: what is wrong is raised."""
    _, *words = shlex.split(line)
    command = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        _, found, words = command.resolve_command(command.context_class(command), words)
        assert found, line
        command = found
    command.make_context(command.name, words)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_of_ours_is_there(name: str) -> None:
    if name.startswith("postroad "):
        read_command(name)
    elif name.startswith("postroad_"):
        assert name in METRICS
    else:
        declared, _, value = name.partition(": ")
        assert declared in DECLARED
        assert not value or f"`{value}`" in DECLARED[declared].type


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_terms_settings_commands_and_five_steps(system: str) -> None:
    ours = [table for table in tables() if {system, "Postroad"} <= table[0].keys()]
    assert ["default" in table[0] for table in ours] == [False, True, False]
    assert all(len(table) >= 8 for table in ours)
    section = re.split(rf"^## (?:Amazon )?{system}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    steps = re.findall(r"^(\d)\. \*\*", section, re.MULTILINE)
    assert steps == ["1", "2", "3", "4", "5"]


def test_our_columns_name_nothing_that_is_not_ours() -> None:
    named = [span for table in tables() for row in table for span in SPAN.findall(ours(row))]
    assert len(named) > 150
    assert [span for span in named if not OURS.match(span)] == []


def test_every_row_says_what_there_is_or_that_there_is_nothing() -> None:
    told = re.compile(r"`|none|not yet")
    rows = [row for table in tables() for row in table if "default" in row or "to know" in row]
    assert [row for row in rows if not told.search(ours(row))] == []


def test_our_defaults_are_those_of_the_code() -> None:
    rows = [row for table in tables() for row in table if "default" in row]
    assert len(rows) > 80
    wrong = {ours(row): row["default"] for row in rows if row["default"] != default(row)}
    assert wrong == {}


def default(row: Mapping[str, str]) -> str:
    """Return the default of a row that names one field or variable, without a value of its own."""
    names = SPAN.findall(ours(row))
    only = DECLARED.get(names[0]) if len(names) == 1 else None
    return only.default.replace("required", "") if only else ""


def test_our_replies_are_those_of_ingress() -> None:
    rows = [row for table in tables() for row in table]
    said = [row["Postroad replies"] for row in rows if "Postroad replies" in row]
    ours = [*vars(replies).values(), *vars(verdicts).values()]
    known = {f"`{reply}`" for reply in ours if isinstance(reply, Reply)}
    assert len(said) >= 3
    assert set(said) <= known


def test_its_links_lead_somewhere() -> None:
    for name, anchor in set(re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", PAGE)):
        text = (DOCS / (name or "coming-from.md")).read_text(encoding="utf-8")
        titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in slugs


def test_the_manifests_are_valid(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example, encoding="utf-8")
        done = CliRunner().invoke(app, ["check", str(path)])
        assert done.exit_code == 0, done.output
