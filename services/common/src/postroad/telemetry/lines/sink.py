"""
Where log lines go: standard error, without the event loop ever waiting for its reader.

A pipe that nobody drains and a terminal paused by a key block the one who writes to it. A relay
must not stop taking mail for that, so a thread of its own writes: what has gathered, in one write,
then sleeps a moment so that a busy process wakes it ten times a second and not once a line: each
time the two threads take the interpreter from each other a few times. When 10,000 lines wait the
newest are dropped and counted, and the count is written once there is room.
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
    """A text stream for whole lines; `write` never blocks, `close` writes what waits."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: deque[str] = deque()
        self._fd = _descriptor(stream)
        self._unsaid = 0  # dropped, and not yet written so
        self._work = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log sink", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, text: str) -> None:
        """Take text to be written soon; drop it, and count that, when too much waits."""
        if len(self._waiting) >= MAX_WAITING:
            self._unsaid += 1
            LOG_LINES_DROPPED.inc()
            return
        self._waiting.append(text)
        if not self._work.is_set():
            self._work.set()

    def flush(self) -> None:
        """Do nothing: loggers ask for it after each line, and the thread does it by itself."""

    def close(self) -> None:
        """Write what waits and end the thread; lines written later are lost."""
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
        # Not until none is left: who writes meanwhile must not make this one write endless.
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
            # Nobody reads any more, or the stream is closed: there is no place left to say so.
            LOG_LINES_DROPPED.inc(len(lines))

    def _put(self, text: str) -> None:
        if self._fd is None:
            self._stream.write(text)
            return
        # Past the stream's own buffer: its lock, held by a stuck write, would abort the exit.
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a stream in memory
        return None
