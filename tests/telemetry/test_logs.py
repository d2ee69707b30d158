"""Log lines for machines and for people, whatever a peer puts into them."""

import ast
import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from postroad.telemetry import logs
from postroad.telemetry.lines import fields as log_fields
from postroad.units.secret import Secret

ROOT = Path(__file__).parents[2]

HOSTILE = 'x\r\n{"event":"forged"}\x1b[31m\x7f\x00\u2028\u202e\x9b\udc80'

Writing = Callable[[Callable[[], None]], str]


@pytest.fixture
def written() -> Iterator[Callable[..., Writing]]:
    """Return what the calls under a configuration write, as text."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def configured(**options: Any) -> Writing:
        def write(call: Callable[[], None]) -> str:
            stream = io.StringIO()
            sink = logs.configure("ingress-0", stream=stream, **options)
            call()
            sink.close()
            return stream.getvalue()

        return write

    yield configured
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_a_line_is_json_with_the_stable_fields(written: Callable[..., Writing]) -> None:
    log = logs.get_logger("postroad.ingress.session")
    text = written()(lambda: log.bind(session_id="s1").info("accepted", queue_id="Q", size=10))
    line = json.loads(text)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "accepted",
        "logger": "ingress.session",
        "process": "ingress-0",
        "session_id": "s1",
        "queue_id": "Q",
        "size": 10,
    }


def test_a_level_that_is_off_writes_nothing(written: Callable[..., Writing]) -> None:
    log = logs.get_logger("x")

    def call() -> None:
        log.info("quiet")
        logging.getLogger("nats").info("quiet too")
        log.warning("loud")

    text = written(level=logs.LogLevel.WARNING)(call)
    assert [json.loads(line)["event"] for line in text.splitlines()] == ["loud"]


@pytest.mark.parametrize("format", [logs.LogFormat.JSON, logs.LogFormat.CONSOLE])
@pytest.mark.parametrize(
    "call",
    [
        lambda: logs.get_logger("x").info("replied", reply=HOSTILE),
        lambda: logs.get_logger("x").info("replied", reply=HOSTILE.encode("utf-8", "replace")),
        lambda: logs.get_logger("x").info("replied", reply=[HOSTILE]),
        lambda: logging.getLogger("aiosmtpd").warning("replied %s", HOSTILE),
    ],
)
def test_a_peers_text_makes_no_line_and_steers_no_terminal(
    written: Callable[..., Writing], format: logs.LogFormat, call: Callable[[], None]
) -> None:
    text = written(format=format)(call)
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1  # splits at every kind of line end there is
    assert text.rstrip("\n").isprintable()


def test_a_traceback_cannot_pass_for_a_line(written: Callable[..., Writing]) -> None:
    def call() -> None:
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            logs.get_logger("x").exception("failed")

    text = written(format=logs.LogFormat.CONSOLE)(call)
    first, *rest = text.splitlines()
    assert "failed" in first
    assert rest
    assert all(line.startswith("    | ") for line in rest)
    assert len(json.loads(written()(call))["exception"].splitlines()) > 2


def test_secrets_are_never_written(written: Callable[..., Writing]) -> None:
    def call() -> None:
        logs.get_logger("x").info(
            "connecting",
            password="hunter2",
            nats_token="hunter2",
            settings={"key": Secret("hunter2")},
            value=Secret("hunter2"),
        )

    for format in (logs.LogFormat.JSON, logs.LogFormat.CONSOLE):
        assert "hunter2" not in written(format=format)(call)


def test_aiosmtpds_log_of_commands_stays_out(written: Callable[..., Writing]) -> None:
    text = written()(lambda: logging.getLogger("mail.log").info("b'AUTH PLAIN aHVudGVyMg=='"))
    assert text == ""


def test_long_texts_are_cut(written: Callable[..., Writing]) -> None:
    text = written()(lambda: logs.get_logger("x").info("replied", reply="x" * 10_000))
    assert len(json.loads(text)["reply"]) == log_fields.MAX_TEXT + 1


def test_a_value_json_does_not_know_is_written_as_text(written: Callable[..., Writing]) -> None:
    loop: list[object] = []
    loop.append(loop)
    lines = written()(lambda: logs.get_logger("x").info("odd", size={1, 2}, reason=loop))
    assert json.loads(lines)["reason"] == "[[...]]"


def test_warnings_and_the_standard_library_come_out_as_lines(
    written: Callable[..., Writing],
) -> None:
    text = written()(lambda: logging.getLogger("asyncio").error("slow %d", 3))
    line = json.loads(text)
    assert (line["event"], line["logger"], line["level"]) == ("slow 3", "asyncio", "error")


def test_the_documentation_lists_the_stable_fields() -> None:
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    assert "".join(f"| `{name}` | {means} |\n" for name, means in log_fields.FIELDS.items()) in text


def fields_in(path: Path) -> Iterator[str]:
    """Yield the fields of a module's log lines, as its calls of `log` name them."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match call:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log" | "_log")), keywords=named):
                yield from (each.arg for each in named if each.arg and each.arg != "exc_info")


def test_every_field_of_a_log_line_is_a_stable_one() -> None:
    modules = [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("operator/src/**/*.py")]
    used = {(path.stem, field) for path in modules for field in fields_in(path)}
    assert len(used) > 100
    assert {(where, field) for where, field in used if field not in log_fields.FIELDS} == set()


@pytest.mark.parametrize("value", [True, None, 1.5, float("nan"), [1, "a"], {"a": b"b"}, -3])
def test_every_kind_of_value_is_json(written: Callable[..., Writing], value: object) -> None:
    text = written()(lambda: logs.get_logger("x").info("told", value=value, size=1))
    assert json.loads(text)["size"] == 1


def test_a_field_cannot_take_the_place_of_what_a_line_says_of_itself(
    written: Callable[..., Writing],
) -> None:
    fields = {"ts": "never", "level": "error", "process": "other", "logger": "y"}
    text = written()(lambda: logs.get_logger("x").info("told", **fields))
    line = json.loads(text)
    assert (line["level"], line["process"], line["logger"]) == ("info", "ingress-0", "x")
    assert text.count('"ts":') == 1


def test_a_line_at_a_terminal_is_short(written: Callable[..., Writing]) -> None:
    def call() -> None:
        log = logs.get_logger("ingress.session")
        log.info("accepted", queue_id="Q", size=10, reply="250 ok", settings={"A": "1", "B": "2"})
        log.warning("odd", reason='say "x"')

    first, second = written(format=logs.LogFormat.CONSOLE)(call).splitlines()
    clock, _, rest = first.partition(" ")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
    assert rest == 'ingress-0  accepted queue_id=Q size=10 reply="250 ok" settings="A=1 B=2"'
    assert second.partition(" ")[2] == (
        r'ingress-0  warning odd reason="say \"x\"" [ingress.session]'
    )


def test_libraries_are_heard_when_something_is_wrong(written: Callable[..., Writing]) -> None:
    def call() -> None:
        logging.getLogger("aiohttp.access").info("GET /metrics")
        logging.getLogger("nats").warning("slow")
        logs.get_logger("postroad.spool.jetstream.browse").info("ours")

    def told(level: logs.LogLevel) -> list[str]:
        return [json.loads(line)["event"] for line in written(level=level)(call).splitlines()]

    assert told(logs.LogLevel.INFO) == ["slow", "ours"]
    assert told(logs.LogLevel.DEBUG) == ["GET /metrics", "slow", "ours"]
