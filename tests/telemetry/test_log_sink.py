"""The log's output: no process waits for a stuck reader, and lost lines are counted."""

import os

import pytest

from postroad.telemetry.lines import sink as log_sink
from postroad.telemetry.lines.sink import LineSink
from postroad.telemetry.metrics import LOG_LINES_DROPPED


def dropped() -> float:
    return LOG_LINES_DROPPED.value


def test_a_stuck_reader_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sink, "MAX_WAITING", 100)
    reader, writer = os.pipe()
    before = dropped()
    with os.fdopen(writer, "w") as stream:
        sink = LineSink(stream)
        for number in range(1_000):
            sink.write(f"{number} {'x' * 1_000}\n")  # far more than a pipe holds
        # But for what the pipe holds, what is being written, and what waits.
        assert dropped() - before >= 1_000 - 65 - 100 - 100
        with os.fdopen(reader, "r") as pipe:
            text = ""
            while "log lines dropped" not in text:
                text += pipe.readline()
        sink.close()
    assert text.startswith("0 x")


def test_close_writes_what_waits() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        sink = LineSink(stream)
        for number in range(50):
            sink.write(f"{number}\n")
        sink.close()
    with os.fdopen(reader) as pipe:
        assert pipe.read().split() == [str(number) for number in range(50)]


def test_a_reader_that_is_gone_ends_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    before = dropped()
    with os.fdopen(writer, "w") as stream:
        sink = LineSink(stream)
        sink.write("into the void\n")
        sink.close()
    assert dropped() == before + 1
