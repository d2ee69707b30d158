"""Tests that run make: they see it as a person does, also where make runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def no_make_around_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a make within make tells which folder it enters and leaves."""
    for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        monkeypatch.delenv(variable, raising=False)
