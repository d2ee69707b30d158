"""Enhanced status codes (RFC 3463): parsed strictly, and found in a reply's text with care."""

import pytest

from postroad.mail.errors import StatusSyntaxError
from postroad.mail.status import EnhancedStatus


@pytest.mark.parametrize("text", ["2.0.0", "4.4.1", "5.7.26", "5.999.999"])
def test_a_code_reads_back(text: str) -> None:
    assert str(EnhancedStatus.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "4.4", "3.0.0", "1.0.0", "4.4.1.1", "4.4.1000", "4.-1.0", " 4.4.1", "4.4.1\n"]
)
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(StatusSyntaxError):
        EnhancedStatus.parse(text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("5.7.1 no", "5.7.1"),
        ("5.7.1", "5.7.1"),
        ("5.7.1: no", None),
        ("5.7.1.2 is listed", None),
        ("no 5.7.1", None),
        ("", None),
    ],
)
def test_the_code_a_text_begins_with(text: str, status: str | None) -> None:
    found = EnhancedStatus.leading(text)
    assert (str(found) if found else None) == status


def test_the_same_trouble_in_another_class() -> None:
    assert str(EnhancedStatus(4, 4, 7).with_class(5)) == "5.4.7"
