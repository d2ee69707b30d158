"""Tables fit the terminal: texts are cut first, then columns left out; `-o wide` shows all."""

import pytest

from postroad.cli.terminal.tables import Column, fit, print_table

COLUMNS = (Column("ID"), Column("STATE", 1), Column("SIZE", 3), Column("REPLY", 2, 6))
ROWS = (("0123456789", "deferred", "4 KiB", "450 4.2.1 mailbox busy"), ("0", "held", "1 B", ""))


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (None, {0: 10, 1: 8, 2: 5, 3: 22}),
        (100, {0: 10, 1: 8, 2: 5, 3: 22}),
        (40, {0: 10, 1: 8, 2: 5, 3: 11}),  # the text is cut
        (35, {0: 10, 1: 8, 2: 5, 3: 6}),
        (34, {0: 10, 1: 8, 3: 12}),  # a column goes, so there is room for the text again
        (27, {0: 10, 1: 8}),
        (12, {0: 10}),
        (6, {0: 6}),  # what is left goes on in further lines
    ],
)
def test_the_least_important_go_first(room: int | None, shown: dict[int, int]) -> None:
    assert dict(fit(COLUMNS, ROWS, room)) == shown


def test_wide_letters_take_two_places() -> None:
    assert fit((Column("NAME"),), (("日本語",),), None) == [(0, 6)]


@pytest.mark.parametrize("width", [20, 40, 80])
def test_no_line_is_wider_than_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, empty="")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= width
    print_table(COLUMNS, ROWS, empty="", wide=True)
    assert "450 4.2.1 mailbox busy" in capsys.readouterr().out


def test_a_pipe_has_no_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table((Column("REPLY", 0, 6),), (("x" * 500,),), empty="")
    assert "x" * 500 in capsys.readouterr().out


def test_a_text_of_any_length_takes_nothing_from_the_columns_beside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = (("0123456789", "deferred", "4 KiB", "x" * 20_000),)
    print_table(COLUMNS, rows, empty="")
    assert capsys.readouterr().out.splitlines()[1].startswith("0123456789  deferred  4 KiB  xxx")
    monkeypatch.setenv("COLUMNS", "60")
    print_table(COLUMNS, rows, empty="")
    [_, line] = capsys.readouterr().out.splitlines()
    assert line.startswith("0123456789  deferred  4 KiB  xxx")
    assert len(line) <= 60
