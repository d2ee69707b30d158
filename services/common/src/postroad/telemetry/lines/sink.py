"""
Writes log lines to standard error without ever blocking the event loop.

A full pipe or a paused terminal blocks whoever writes to it, and a relay must not stop taking mail
for that. So a thread writes the lines. It writes all lines that wait at once and then sleeps for
0.1 s: waking it for each line would cost a busy process several switches of the interpreter lock a
line. When 10,000 lines wait, new ones are dropped and counted, and the count is written once there
is room.
"""

import atexit
import os
import threading
from collections import deque
from typing import TextIO

from postroad.telemetry.metrics import LOG_LINES_DROPPED

MAX_WAITING = 10_000  # lines; a line is at most some KiB, most are 300 octets
GATHER_SECONDS = 0.1


class LineSink:
    """A text stream for whole lines; `write` never blocks, `close` writes the lines that wait."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._fd = _descriptor(stream)
        self._unsaid = 0  # lines dropped since the last line about that
        self._work = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log sink", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Take a line to be written soon; drop and count it when too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._unsaid += 1
            LOG_LINES_DROPPED.inc()
            return
        self._waiting.append(text)
        if not self._work.is_set():
            self._work.set()

    def flush(self) -> None:
        """Do nothing: loggers call it after each line, and the thread writes anyway."""

    def close(self) -> None:
        """Write the lines that wait and end the thread; later lines are lost."""
        self._closed.set()
        self._work.set()
        self._thread.join(timeout=1.0)
        atexit.unregister(self.close)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._work.wait()
            self._work.clear()
            self._write_waiting()
            self._closed.wait(GATHER_SECONDS)
        self._write_waiting()

    def _write_waiting(self) -> None:
        # Take only the lines of this moment: with new ones all the time, this would never end.
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._unsaid:
            lines.append(
                f'{{"level":"warning","event":"log lines dropped","count":{self._unsaid}}}\n'
            )
            self._unsaid = 0
        if not lines:
            return
        try:
            self._put("".join(lines))
        except (OSError, ValueError):
            # The reader is gone, or the stream is closed: a log line cannot tell of it.
            LOG_LINES_DROPPED.inc(len(lines))

    def _put(self, text: str) -> None:
        if self._fd is None:
            self._stream.write(text)
            return
        # Bypass the stream's buffer: a stuck write would hold its lock and abort the exit.
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a stream in memory
        return None
