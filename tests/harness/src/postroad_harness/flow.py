"""
Sends mail to a relay at an even rate during a fault, and accounts for every message.

Every try has its own number, so the account does not depend on the client. A message that was
answered 250 must arrive once. A message in doubt (the connection was lost, or 451 came, after the
final dot) may arrive or not. After a refusal the client sends its message again under the next
number. The flow goes on until it is ended, however long the fault lasts.
"""

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from postroad.testing.streams import hang_up
from postroad_harness.source import Account, Deliveries, read_code

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

MESSAGES = int(os.environ.get("POSTROAD_E2E_MESSAGES") or 2000)  # in each scenario
_REPLY = 40.0  # seconds a client waits for a reply; the relay tries its queue for 20
_PAUSE = 0.2  # seconds before a session that was lost is opened again
_ON_ONE_CONNECTION = 25  # messages; new pods get their share through new connections
_NUMBERS = itertools.count(int(time.time()) * 10_000)  # never again, also in a later run


@dataclass
class Arrivals(Deliveries):
    """The messages that arrived at the far end, with their times; and the content of the last."""

    times: dict[int, float] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def note(self, content: bytes | bytearray) -> None:
        """Count one delivered message."""
        before = self.counts.total()
        super().note(content)
        number = number_of(content)
        if self.counts.total() > before and number is not None:
            self.times.setdefault(number, time.monotonic())
            self.contents[number] = bytes(content[:4096])
            while len(self.contents) > MESSAGES:
                del self.contents[next(iter(self.contents))]


def number_of(content: bytes | bytearray) -> int | None:
    """Return the number in a message's header."""
    start = content.find(b"X-Number: ")
    end = content.find(b"\r\n", start)
    return int(content[start + 10 : end]) if 0 <= start < end else None


@dataclass(frozen=True, slots=True)
class Figures:
    """The account of a flow that has ended; gaps in seconds."""

    accepted: int
    delivered: int
    lost: int
    duplicated: int
    in_doubt: int
    longest_gap: float
    accept_gap: float


@dataclass
class Flow:
    """`async with` begins to send; `settle` ends it and gives the account."""

    connect: Connect
    arrivals: Arrivals
    sender: str
    recipients: tuple[str, ...]
    rate: float = 40.0  # messages in a second, over all sessions
    sessions: int = 8
    size: int = 1024
    account: Account = field(default_factory=Account)
    replies: Counter[str] = field(default_factory=Counter)  # other than the wanted ones
    accepted_at: list[float] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False
    _next: float = 0.0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._next = time.monotonic()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.sessions)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reached(self, accepted: int, *, seconds: float = 120) -> None:
        """Wait until so many messages have been accepted since the beginning."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.account.accepted) < accepted:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            so_far = f"{len(self.account.accepted)} of {accepted} accepted in {seconds:.0f} s"
            raise AssertionError(f"{so_far}; other replies: {dict(self.replies)}") from error

    async def more(self, count: int, *, seconds: float = 120) -> None:
        """Wait until so many further messages have been accepted."""
        await self.reached(len(self.account.accepted) + count, seconds=seconds)

    async def end(self) -> None:
        """Stop sending, and wait until every try has its answer."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def settle(self, at_least: int = MESSAGES, *, seconds: float = 120) -> Figures:
        """End when `at_least` messages are accepted; return the account when all have arrived."""
        await self.reached(at_least, seconds=60 + at_least / self.rate * 2)
        await self.end()
        try:
            await self.arrivals.wait_for(self.account, seconds=seconds)
        except TimeoutError:
            pass  # the account says how many are missing
        return self._figures()

    def _figures(self) -> Figures:
        account, arrived = self.account, self.arrivals
        tried = account.accepted | account.doubtful
        return Figures(
            accepted=len(account.accepted),
            delivered=sum(1 for number in account.accepted if arrived.counts[number]),
            lost=len(arrived.missing(account)),
            duplicated=sum(arrived.counts[number] > 1 for number in tried),
            in_doubt=len(account.doubtful),
            longest_gap=longest_gap(arrived.times[n] for n in tried if n in arrived.times),
            accept_gap=longest_gap(self.accepted_at),
        )

    async def _turn(self) -> None:
        """Wait for the next turn; missed turns are not made up for."""
        now = time.monotonic()
        self._next = max(self._next + 1 / self.rate, now)
        await asyncio.sleep(self._next - now)

    async def _work(self) -> None:
        while not self._ending:
            try:
                reader, writer = await self.connect()
            except OSError:
                self.replies["no connection"] += 1
                await asyncio.sleep(_PAUSE)
                continue
            try:
                await self._converse(reader, writer)
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.replies["connection lost"] += 1
                await asyncio.sleep(_PAUSE)
            finally:
                writer.transport.abort()  # a dead node never takes the rest of the buffer
                await hang_up(writer)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._expect(reader, 220)
        writer.write(b"EHLO outside.example\r\n")
        await self._expect(reader, 250)
        for _ in range(_ON_ONE_CONNECTION):
            if self._ending:
                break
            await self._turn()
            await self._transact(reader, writer, next(_NUMBERS))
        writer.write(b"QUIT\r\n")
        await self._expect(reader, 221)

    async def _transact(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        recipients = b"".join(b"RCPT TO:<%s>\r\n" % to.encode() for to in self.recipients)
        writer.write(b"MAIL FROM:<%s>\r\n" % self.sender.encode() + recipients + b"DATA\r\n")
        try:
            codes = [await self._code(reader) for _ in range(2 + len(self.recipients))]
        except (OSError, asyncio.IncompleteReadError):
            self.account.refused.add(number)
            raise
        if codes[-1] != 354:
            self.account.refused.add(number)
            refusal = next(code for code in codes if code not in (250, 354))
            self.replies[f"{refusal} before the content"] += 1
            raise ConnectionAbortedError("refused before the content")
        writer.write(b"X-Number: %d\r\n\r\n" % number + b"x" * self.size + b"\r\n.\r\n")
        try:
            code = await self._code(reader)
        except (OSError, asyncio.IncompleteReadError):
            self.account.doubtful.add(number)
            raise
        if code == 250:
            self.account.accepted.add(number)
            self.accepted_at.append(time.monotonic())
            self._changed.set()
        else:
            self.account.doubtful.add(number)
            self.replies[f"{code} after the content"] += 1

    async def _expect(self, reader: asyncio.StreamReader, wanted: int) -> None:
        code = await self._code(reader)
        if code != wanted:
            self.replies[f"{code} instead of {wanted}"] += 1
            raise ConnectionAbortedError("the session is over")

    async def _code(self, reader: asyncio.StreamReader) -> int:
        async with asyncio.timeout(_REPLY):
            return await read_code(reader)


def longest_gap(times: Iterable[float]) -> float:
    """Return the longest time between two neighbours; 0 for less than two."""
    ordered = sorted(times)
    return max((b - a for a, b in itertools.pairwise(ordered)), default=0.0)
