"""
Group commit: stores what gathers while one write is under way as one message, a pack.

The servers sync each message to disk before they acknowledge it. While one is written, more mail
comes in. All of it for one lane is written together, so one sync is enough for all. A lone message
is written at once, and alone.

What was sent is never regrouped: a repeated write has to be the same, or mail would be stored
twice. A session that gives up takes its mail out only before it is sent.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.interface import Put
from postroad.spool.jetstream.publish.publisher import LONGEST, PackLine, Publisher
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.spool.record import QueueRecord
from postroad.spool.wire.pack import MOST, packed_size

_IN_DOUBT = 0.25  # seconds without an answer, after which mail that comes need not wait for it


@dataclass(slots=True, eq=False)
class _Message:
    """A message's records, and who waits until they are stored."""

    records: Sequence[tuple[QueueRecord, bytes]]
    octets: int
    deadline: float
    stored: asyncio.Future[int]


@dataclass(slots=True, eq=False)
class _Line:
    """What waits in one line, and the writes under way that are not in doubt."""

    waiting: list[_Message] = field(default_factory=list)
    under_way: int = 0
    due: bool = False


class Committer:
    """The group commits of one process; each begins `gathering` after its first mail."""

    gathering = 0.0  # seconds; 0: at the end of the loop's turn

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._lines: dict[PackLine, _Line] = {}
        self._commits = BackgroundTasks(INTERNAL_ERRORS)

    async def store(self, puts: Sequence[Put], *, shard: int, timeout: timedelta) -> int:
        """
        Store new mail, with other mail if it may be; return the sequence of its message.

        Raises the errors of `Publisher.accept`.
        """
        packable = self._publisher.packable(puts, shard)
        if packable is None:
            return await self._publisher.accept(puts, shard=shard, timeout=timeout)
        line, encoded = packable
        records = [(put.record, each) for put, each in zip(puts, encoded, strict=True)]
        return await self.commit(line, records, timeout=timeout)

    async def commit(
        self, line: PackLine, records: Sequence[tuple[QueueRecord, bytes]], *, timeout: timedelta
    ) -> int:
        """
        Store a message's records, all or none; return the sequence of their pack.

        Raises the errors of `Publisher.accept`.
        """
        loop = asyncio.get_running_loop()
        octets = sum(packed_size(encoded) for _, encoded in records)
        deadline = loop.time() + min(timeout, LONGEST).total_seconds()
        message = _Message(records, octets, deadline, loop.create_future())
        there = self._lines.get(line)
        if there is None:
            there = self._lines[line] = _Line()
        there.waiting.append(message)
        self._begin_soon(line, there)
        try:
            async with asyncio.timeout_at(deadline):
                return await message.stored
        except TimeoutError:
            raise SpoolUnavailable("not stored in time") from None
        finally:
            if message in there.waiting:
                there.waiting.remove(message)

    def _begin_soon(self, line: PackLine, there: _Line) -> None:
        """Begin a write soon, unless one is under way."""
        if there.waiting and not there.under_way and not there.due:
            there.due = True
            asyncio.get_running_loop().call_later(self.gathering, self._begin, line, there)

    def _begin(self, line: PackLine, there: _Line) -> None:
        there.due = False
        if there.waiting and not there.under_way:
            there.under_way += 1
            self._commits.spawn(self._write(line, there, self._next_pack(there.waiting)))

    async def _write(self, line: PackLine, there: _Line, messages: Sequence[_Message]) -> None:
        loop = asyncio.get_running_loop()
        doubted = False

        def doubt() -> None:
            nonlocal doubted
            doubted = True
            self._over(line, there)

        doubts = loop.call_later(_IN_DOUBT, doubt)
        latest = max(message.deadline for message in messages) - loop.time()
        records = [each for message in messages for each in message.records]
        try:
            sequence = await self._publisher.accept_pack(
                line, records, timeout=timedelta(seconds=latest)
            )
        except SpoolError as error:
            _fail(messages, error)
        else:
            for message in messages:
                if not message.stored.done():
                    message.stored.set_result(sequence)
        finally:
            _fail(messages, SpoolUnavailable("the process ends"))
            doubts.cancel()
            if not doubted:
                self._over(line, there)

    def _next_pack(self, waiting: list[_Message]) -> list[_Message]:
        """Take out of what waits as much as one pack takes, the first in any case."""
        taken: list[_Message] = []
        limit = self._publisher.pack_octets
        octets = count = 0
        for message in waiting:
            octets += message.octets
            count += len(message.records)
            if taken and (octets > limit or count > MOST):
                break
            taken.append(message)
        del waiting[: len(taken)]
        return taken

    def _over(self, line: PackLine, there: _Line) -> None:
        there.under_way -= 1
        if there.waiting:
            self._begin_soon(line, there)
        elif not there.under_way and self._lines.get(line) is there:
            del self._lines[line]

    async def close(self) -> None:
        """Wait until the writes under way have ended."""
        await self._commits.end()


def _fail(messages: Sequence[_Message], error: SpoolError) -> None:
    for message in messages:
        if not message.stored.done():
            message.stored.set_exception(error)
