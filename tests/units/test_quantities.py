"""Parsing sizes."""

import pytest

from postroad.units.quantities import parse_size


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
