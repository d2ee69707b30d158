"""Every log line has only documented fields, and none whose value would be hidden."""

import ast
from collections.abc import Iterator
from pathlib import Path

from postroad.telemetry.lines.fields import FIELDS, names_secret

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Yield all code of what ships, with where it stands."""
    for source in (*ROOT.glob("services/**/*.py"), *ROOT.glob("operator/**/*.py")):
        if "testing" not in source.parts:
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                yield f"{source.name}:{getattr(node, 'lineno', 0)}", node


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in what ships, with where it stands."""
    for where, node in nodes():
        if isinstance(node, ast.Call):
            yield where, node


def lines_written() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call that writes a line, with where it stands."""
    for where, call in calls():
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
            continue
        if ast.unparse(call.func.value) in ("log", "_log", "self._log"):
            yield where, call


def fields_written() -> Iterator[tuple[str, str]]:
    """Yield where a line is written, and each field that is named there."""
    for where, call in lines_written():
        for keyword in call.keywords:
            if keyword.arg and keyword.arg != "exc_info":
                yield where, keyword.arg
    for where, node in nodes():
        match node:
            case ast.Subscript(ast.Name("fields"), ast.Constant(name), ast.Store()):
                yield where, str(name)


def test_every_field_is_documented() -> None:
    written = list(fields_written())
    assert len(written) > 100  # else the search above finds nothing any more
    assert [(where, name) for where, name in written if name not in FIELDS] == []


def test_a_line_is_a_fixed_sentence() -> None:
    """Values stand in fields: searches look for the sentence."""
    odd = [
        where
        for where, call in lines_written()
        if len(call.args) != 1 or isinstance(call.args[0], ast.JoinedStr | ast.BinOp | ast.Call)
    ]
    assert odd == []


def test_a_logger_is_named_after_its_module() -> None:
    made = [
        (where, ast.unparse(call))
        for where, call in calls()
        if ast.unparse(call.func).endswith(("get_logger", "getLogger"))
    ]
    ours = [(where, text) for where, text in made if text.endswith("get_logger(__name__)")]
    assert len(ours) > 50  # else the search above finds nothing any more
    others = {text for where, text in made if (where, text) not in ours}
    # What libraries log is tuned by their own names; structlog's door is `telemetry.logs`.
    library = "logging.getLogger("
    own = "structlog.get_logger(_part=module.removeprefix('postroad.'))"
    assert {text for text in others if not text.startswith(library)} == {own}
    assert not {text for text in others if "postroad" in text or "__name__" in text} - {own}


def test_no_field_is_hidden_for_its_name() -> None:
    """A Secret's name in a field `secret` came out as ***."""
    assert [(where, name) for where, name in fields_written() if names_secret(name)] == []
