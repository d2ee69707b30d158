"""What docs and docstrings refer to exists: modules such as `spool.jetstream.browse`, and links."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = (*ROOT.glob("services/*/src"), ROOT / "operator" / "src")
PACKAGES = (
    "acceptance|cli|delivery|dns|ingress|mail|manifests|operator|policy|process|queue|smtp"
    "|smtp_client|spool|telemetry|testing|units"
)
# Keys are in files whose names begin with a role's, such as ingress.key.
NAMED = re.compile(rf"`(?!\w+\.key`)((?:postroad\.)?(?:{PACKAGES})(?:\.[a-z_]+)+)`")
# There the names of packages begin names of the chart's values, or of other relays' settings.
VALUES = {"coming-from.md", "kubernetes.md", "operations.md", "operator.md"}
TEXTS = [path for path in ROOT.glob("docs/**/*.md") if path.name not in VALUES]
TEXTS += [path for root in SHIPPED for path in root.rglob("*.py")]
NAMING = [path for path in TEXTS if NAMED.search(path.read_text(encoding="utf-8"))]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("services/*/README.md"),
    *ROOT.glob("operator/README.md"),
    *ROOT.glob("charts/*/README.md"),
]


def exists(name: str) -> bool:
    """Whether there is a module of that name, or in a module of it what is named last."""
    parts = Path(*name.removeprefix("postroad.").split("."))
    for root in SHIPPED:
        path = root / "postroad" / parts
        module = path.parent.with_suffix(".py")
        if path.is_dir() or path.with_suffix(".py").exists():
            return True
        if module.exists() and re.search(rf"\b{path.name}\b", module.read_text(encoding="utf-8")):
            return True
    return False


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = [re.sub(r"\]\(.*?\)", "", title) for title in re.findall(r"^#+ (.+)$", text, re.M)]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link[0]).exists()] == []
    to_headings = [(path.parent / file if file else path, name) for file, name in links if name]
    assert [name for page, name in to_headings if name not in anchors(page)] == []


@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_that_is_named_is_there(path: Path) -> None:
    named = NAMED.findall(path.read_text(encoding="utf-8"))
    assert [name for name in named if not exists(name)] == []


def test_a_path_that_is_named_to_contributors_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:services|operator|tests)/[\w./]*)`", text)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_file_is_the_answer_to_each_of_twenty_questions() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| where is ... | in |\n| --- | --- |\n")[2].partition("\n\n")[0]
    rows = [re.fullmatch(r"\| (.+) \| `(\S+)` \|", line) for line in table.splitlines()]
    answers = {row[1]: row[2] for row in rows if row}
    assert len(answers) == len(rows) == 20
    assert [path for path in answers.values() if not (ROOT / path).is_file()] == []


def test_the_layers_on_the_page_about_the_architecture_are_those_that_are_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.M)
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    assert [re.findall(r"\w+", row) for row in rows] == [re.findall(r"\w+", row) for row in layers]


def test_every_term_of_the_glossary_has_a_home() -> None:
    rows = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    terms = [
        row for row in rows if row.startswith("| ") and not row.startswith(("| term", "| ---"))
    ]
    assert len(terms) > 40
    assert [row for row in terms if not NAMED.search(row)] == []


@pytest.mark.parametrize("service", ["ingress", "delivery", "operator"])
def test_the_modules_in_a_services_table_are_there(service: str) -> None:
    folder = ROOT if service == "operator" else ROOT / "services"
    text = (folder / service / "README.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \|", text, re.M)
    named = [name for cell in cells for name in re.findall(r"`([a-z_.]+)`", cell)]
    assert len(named) > 20
    assert [name for name in named if not exists(f"{service}.{name}")] == []
