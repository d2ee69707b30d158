"""
A source of mail for fault tests, which counts what was accepted, refused, or left in doubt.

Every message has a number in its own header field. A message is accepted when its final dot was
answered by 250. It is doubtful when the connection was lost between the final dot and the answer.
Doubtful and refused messages are not sent again, so every message is sent once. No accepted message
may be missing at the far end.
"""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field

from postroad.testing.patience import patient
from postroad.testing.streams import hang_up

_NUMBER = re.compile(rb"X-Number: (\d+)")
_PAUSE = 0.05  # seconds before a session that was lost is opened again


@dataclass
class Account:
    """The results of the messages that a source sent, by number."""

    accepted: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    doubtful: set[int] = field(default_factory=set)


@dataclass
class Deliveries:
    """The messages that a sink has received, by number; use `note` as its `on_taken`."""

    counts: Counter[int] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, content: bytes | bytearray) -> None:
        """Count one delivered message."""
        match = _NUMBER.search(content)
        if match is not None:
            self.counts[int(match[1])] += 1
            self.changed.set()

    def missing(self, account: Account) -> set[int]:
        """Return the accepted messages that have not arrived."""
        return account.accepted - self.counts.keys()

    def duplicated(self) -> set[int]:
        """Return the messages that arrived more than once."""
        return {number for number, count in self.counts.items() if count > 1}

    async def wait_for(self, account: Account, *, seconds: float) -> None:
        """Wait until every accepted message has arrived; TimeoutError if not in time."""
        async with asyncio.timeout(patient(seconds)):
            while self.missing(account):
                self.changed.clear()
                await self.changed.wait()


class Source:
    """Sends numbered messages over a few sessions at once."""

    def __init__(
        self, port: int, *, recipients: tuple[str, ...] = ("to@far.example",), size: int = 1024
    ) -> None:
        self.account = Account()
        self._port = port
        self._recipients = recipients
        self._filler = b"x" * 70 + b"\r\n"
        self._lines = max(1, size // len(self._filler))
        self._numbers = iter(range(10**9))

    async def send(self, count: int, *, sessions: int = 10) -> Account:
        """Send `count` messages and return the account."""
        todo = [next(self._numbers) for _ in range(count)]
        todo.reverse()
        async with asyncio.TaskGroup() as group:
            for _ in range(sessions):
                group.create_task(self._work(todo))
        return self.account

    async def _work(self, todo: list[int]) -> None:
        while todo:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(_PAUSE)
                continue
            try:
                await self._converse(reader, writer, todo)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(_PAUSE)
            finally:
                await hang_up(writer)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, todo: list[int]
    ) -> None:
        if await read_code(reader) != 220:
            raise ConnectionError("no greeting")
        writer.write(b"EHLO source.example\r\n")
        if await read_code(reader) != 250:
            raise ConnectionError("no EHLO")
        while todo:
            await self._transact(reader, writer, todo.pop())

    async def _transact(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        recipients = b"".join(b"RCPT TO:<%s>\r\n" % to.encode() for to in self._recipients)
        writer.write(b"MAIL FROM:<from@near.example>\r\n" + recipients + b"DATA\r\n")
        try:
            codes = [await read_code(reader) for _ in range(2 + len(self._recipients))]
        except (OSError, asyncio.IncompleteReadError):
            self.account.refused.add(number)
            raise
        if codes[-1] != 354:
            self.account.refused.add(number)
            raise ConnectionError("refused before the content")
        writer.write(b"X-Number: %d\r\n\r\n" % number + self._filler * self._lines + b".\r\n")
        try:
            code = await read_code(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.account.doubtful.add(number)
            raise
        (self.account.accepted if code == 250 else self.account.refused).add(number)


async def read_code(reader: asyncio.StreamReader) -> int:
    """Read one reply, of any number of lines, and return its code."""
    while True:
        line = await reader.readuntil(b"\n")
        if line[3:4] != b"-":
            return int(line[:3])
