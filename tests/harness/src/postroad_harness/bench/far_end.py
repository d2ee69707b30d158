"""
The next hop of a bench: a sink in its own process, which notes when each message arrived.

It reads commands from standard input, one a line, and answers in JSON. `begin NUMBER N` starts a
round: it resets the counts and ignores messages with lower numbers, which belong to an earlier
round; the messages of the round have N recipients. Every answer has the number of recipients that
have arrived, and of those that arrived again. `times FILE` writes the number and time of each
message into a file of pairs of doubles. Times are from the monotonic clock, which all processes of
a machine share. The process ends when its standard input ends.
"""

import asyncio
import json
import sys
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from postroad.cli.sink.server import Sink
from postroad.cli.sink.session import SinkProtocol
from postroad_harness.flow import number_of


@dataclass
class TimedSink(Sink):
    """A sink that keeps each message's number and the time at which it was complete."""

    times: "array[float]" = field(default_factory=lambda: array("d"))
    arrived: int = 0  # recipients
    repeated: int = 0  # recipients that came again
    first: int = 0
    expected: int = 1  # recipients of each message
    _seen: Counter[int] = field(default_factory=Counter)

    def take(self, reverse_path: bytes, forward_paths: list[bytes], content: bytearray) -> None:
        """Note a message."""
        number = number_of(content)
        if number is not None and number >= self.first:
            before = self._seen[number]
            self._seen[number] = now = before + len(forward_paths)
            if before < self.expected:
                self.times.extend((number, time.monotonic()))
            self.arrived += min(now, self.expected) - min(before, self.expected)
            self.repeated += max(now, self.expected) - max(before, self.expected)

    def answer(self, words: list[str]) -> dict[str, object]:
        """Return the answer to a question."""
        if words[0] == "begin":
            self.first, self.expected = map(int, words[1].split())
            self.arrived = self.repeated = 0
            self.times = array("d")
            self._seen.clear()
        elif words[0] == "times":
            with Path(words[1]).open("wb") as file:
                self.times.tofile(file)
        return {"recipients": self.arrived, "repeated": self.repeated}


@dataclass
class FarEnd:
    """The sink's process as the bench uses it: `async with` starts and ends it."""

    port: int = 0
    _process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> "FarEnd":
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad_harness.bench.far_end"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.port = int((await self._answer())["port"])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def _answer(self) -> dict[str, float]:
        assert self._process is not None
        assert self._process.stdout is not None
        answer: dict[str, float] = json.loads(await self._process.stdout.readline())
        return answer

    async def ask(self, question: str) -> dict[str, float]:
        """Send a command and return the answer."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(question.encode() + b"\n")
        return await self._answer()

    async def until(self, recipients: int, *, seconds: float) -> bool:
        """Wait until so many recipients have arrived; False when they have not in time."""
        deadline = time.monotonic() + seconds
        while (await self.ask("count"))["recipients"] < recipients:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def times(self, folder: Path) -> dict[int, float]:
        """Return the time of each message's last arrival by its number."""
        file = folder / "arrivals"
        await self.ask(f"times {file}")
        noted = array("d")
        noted.frombytes(file.read_bytes())
        return {int(number): at for number, at in zip(noted[::2], noted[1::2], strict=True)}


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    sink = TimedSink()
    server = await loop.create_server(lambda: SinkProtocol(sink), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        print(json.dumps(sink.answer(line.decode().rstrip("\n").split(" ", 1))), flush=True)
    server.close()
    await sink.hang_up()


def main() -> None:
    """Serve until standard input ends."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
