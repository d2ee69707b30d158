"""Parsing sizes, durations and rates."""

from collections.abc import Callable

import pytest

from postroad.units.quantities import parse_duration, parse_quantity, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("0", 0),
        ("50MB", 50_000_000),
        ("50M", 50_000_000),
        ("128KiB", 131_072),
        ("10Gi", 10 * 2**30),
        ("1.5kB", 1500),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "-1", "1iB", "1 m", "50mb", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize("parse", [parse_duration, parse_quantity, parse_size, parse_rate])
def test_a_mistake_names_the_text_and_cuts_a_long_one(parse: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"^'9x' is not"):
        parse("9x")
    with pytest.raises(ValueError, match=r"^'99.*\.\.\.' is not") as found:
        parse("9" * 5000)
    assert len(str(found.value)) < 200
