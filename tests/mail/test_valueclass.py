"""Value classes made for every message: frozen for the type checker, compared by their fields."""

from dataclasses import field, replace

import pytest

from postroad.mail.valueclass import valueclass


@valueclass(frozen=True, slots=True)
class Parcel:
    to: str
    weight: int = 1
    marks: tuple[str, ...] = field(default=(), repr=False)


def test_values_with_the_same_fields_are_the_same_value() -> None:
    assert Parcel("b", 2) == Parcel("b", weight=2)
    assert {Parcel("b", 2): "found"}[Parcel("b", 2)] == "found"
    assert Parcel("b") != Parcel("c")
    assert replace(Parcel("b"), weight=3) == Parcel("b", 3)


def test_it_has_the_fields_it_declares_and_no_others() -> None:
    with pytest.raises(AttributeError):
        Parcel("b").colour = "red"  # type: ignore[attr-defined]


def test_the_type_checker_refuses_to_change_one() -> None:
    # `make check` fails where an ignored mistake is none.
    parcel = Parcel("b")
    parcel.weight = 2  # type: ignore[misc]
