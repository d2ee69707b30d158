"""Text shown to users: no control of the terminal or the display, and nothing lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.visible import visible, visible_json, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 größe 📮 no", "550 größe 📮 no"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\x9b31m", r"\x9b31m"),
        ("moc.\u202eexe", r"moc.\u202eexe"),
        ("a\u2066b\u2069", r"a\u2066b\u2069"),
        ("one\r\ntwo\u2028three", r"one\r\ntwo\u2028three"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    assert visible(text).isprintable()
    assert all(line.isprintable() for line in visible_lines(text).split("\n"))


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_program_reads_from_json_what_was_said(value: object) -> None:
    shown = visible_json(json.dumps(value, ensure_ascii=False))
    assert shown.isprintable()
    assert json.loads(shown) == value


def test_lines_and_tabs_of_a_longer_text_stay() -> None:
    assert visible_lines("a\tb\n\x1bc\n") == "a   b\n\\x1bc\n"
