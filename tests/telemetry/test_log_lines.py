"""Every line of ours has fields that the documentation lists, and none that hides its value."""

import ast
from collections.abc import Iterator
from pathlib import Path

from postroad.telemetry.lines.fields import FIELDS, names_secret

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def fields_written() -> Iterator[tuple[str, str]]:
    """Yield where a line is written, and each field that is named there."""
    for source in (*ROOT.glob("services/**/*.py"), *ROOT.glob("operator/**/*.py")):
        if "testing" in source.parts:
            continue
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            logger = ast.unparse(node.func.value)
            if node.func.attr in LEVELS and logger in ("log", "_log", "self._log"):
                for keyword in node.keywords:
                    if keyword.arg and keyword.arg != "exc_info":
                        yield f"{source.name}:{node.lineno}", keyword.arg


def test_every_field_is_documented() -> None:
    written = list(fields_written())
    assert len(written) > 100  # else the search above finds nothing any more
    assert [(where, name) for where, name in written if name not in FIELDS] == []


def test_no_field_is_hidden_for_its_name() -> None:
    """A Secret's name in a field `secret` came out as ***."""
    assert [(where, name) for where, name in fields_written() if names_secret(name)] == []
