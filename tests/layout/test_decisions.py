"""The records in docs/decisions: each has its own number, a date, all parts, and an index entry."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("decisions/*.md"))
TITLE = re.compile(r"^## (\d+)\. (.+)$", re.M)
PARTS = re.compile(
    r"\n\n20\d\d-\d\d-\d\d.*\n\n\*\*Context\.\*\* .+\n\n\*\*Decision\.\*\* .+"
    r"\n\n\*\*Consequence\.\*\* .+",
    re.S,
)


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_record_is_in_the_index_once_and_under_a_number_of_its_own() -> None:
    index = (DOCS / "decisions.md").read_text(encoding="utf-8")
    lines = re.findall(r"^- (\d+)\. \[(.+)\]\((.+)\)$", index, re.M)
    records = [
        (number, title, f"decisions/{page.name}#{anchor(f'{number}. {title}')}")
        for page in PAGES
        for number, title in TITLE.findall(page.read_text(encoding="utf-8"))
    ]
    assert sorted(lines) == sorted(records)
    assert len({number for number, *_ in records}) == len(records)


def test_every_record_has_a_date_a_context_a_decision_and_a_consequence() -> None:
    for page in PAGES:
        _, *records = re.split(r"^(?=## )", page.read_text(encoding="utf-8"), flags=re.M)
        assert records, page.name
        assert [record.splitlines()[0] for record in records if not PARTS.search(record)] == []
