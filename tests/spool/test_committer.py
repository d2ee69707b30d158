"""Group commit: which mail is written together, and what each session hears of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.errors import PublishRefused, SpoolError, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.publish.committer import Committer
from postroad.spool.jetstream.publish.publisher import PackLine
from postroad.spool.record import QueueRecord
from postroad.spool.wire.pack import PACK_OCTETS
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import SECOND, record

LINE = PackLine(0, "default", TrafficClass.TRANSACTIONAL, "p00")
OTHER_LINE = LINE._replace(lane="p01")
KIB = 1024


class Servers:
    """Stand for the servers: each write waits for its answer, and is repeated until then."""

    pack_octets = PACK_OCTETS

    def __init__(self) -> None:
        self.writes: list[str] = []  # the names in each
        self.times: list[float] = []
        self.lasting: list[float] = []  # seconds for which each is repeated at most
        self._answers: list[asyncio.Future[int]] = []
        self._begun = asyncio.Condition()
        self.committer = Committer(cast(Any, self))

    async def accept_pack(
        self, line: PackLine, records: Sequence[tuple[QueueRecord, bytes]], *, timeout: timedelta
    ) -> int:
        """Stand for the publisher's."""
        loop = asyncio.get_running_loop()
        self.writes.append(" ".join(mail.recipients[0].mailbox.local_part for mail, _ in records))
        self.times.append(loop.time())
        self.lasting.append(timeout.total_seconds())
        self._answers.append(answer := loop.create_future())
        async with self._begun:
            self._begun.notify_all()
        sequence: int = await answer
        return sequence

    def send(
        self, *names: str, octets: int = 100, seconds: float = 30, line: PackLine = LINE
    ) -> asyncio.Task[int]:
        """Begin to store a message with these records, and return the session that waits."""
        mail = [(record("0" * 26, f"{name}@y.example"), b"x" * octets) for name in names]
        return asyncio.create_task(self.committer.commit(line, mail, timeout=seconds * SECOND))

    async def until_writes(self, count: int) -> None:
        """Wait until so many writes have begun."""
        async with asyncio.timeout(patient(10)), self._begun:
            await self._begun.wait_for(lambda: len(self.writes) >= count)

    def answer(self, write: int, sequence: int) -> None:
        """Say that a write is stored."""
        self._answers[write].set_result(sequence)

    def refuse(self, write: int, error: Exception) -> None:
        """Say that a write is refused."""
        self._answers[write].set_exception(error)


@pytest.fixture
async def servers() -> Servers:
    return Servers()


async def stored(*sessions: asyncio.Task[int]) -> list[int]:
    """Return what the sessions hear whose mail is stored."""
    return [await session for session in sessions]


async def settled() -> None:
    """Let everything run that is ready to."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_message_alone_is_written_at_once(servers: Servers) -> None:
    session = servers.send("a")
    await settled()
    assert servers.writes == ["a"]
    servers.answer(0, 17)
    assert await session == 17


async def test_what_comes_during_a_write_is_written_together_after_it(servers: Servers) -> None:
    first = servers.send("a")
    await servers.until_writes(1)
    later = [servers.send("b")]
    await settled()
    later.append(servers.send("c", "d"))
    await settled()
    assert servers.writes == ["a"]
    servers.answer(0, 1)
    await servers.until_writes(2)
    servers.answer(1, 2)
    assert await stored(first, *later) == [1, 2, 2]
    assert servers.writes == ["a", "b c d"]


async def test_each_lane_is_written_apart_and_waits_for_no_other(servers: Servers) -> None:
    sessions = [servers.send("a"), servers.send("b", line=OTHER_LINE), servers.send("c")]
    await settled()
    assert sorted(servers.writes) == ["a c", "b"]
    servers.answer(servers.writes.index("b"), 9)
    assert await sessions[1] == 9
    assert not sessions[0].done()


# ---------------------------------------------------------------- limits


async def written(servers: Servers, sessions: Sequence[asyncio.Task[int]]) -> list[str]:
    """Answer the writes until all is stored, and return them."""
    write = 0
    while not all(session.done() for session in sessions):
        await servers.until_writes(write + 1)
        servers.answer(write, write + 1)
        write += 1
        await settled()
    return servers.writes


async def test_a_write_has_32_records_at_most(servers: Servers) -> None:
    sessions = [servers.send(f"{number}") for number in range(70)]
    assert [len(each.split()) for each in await written(servers, sessions)] == [32, 32, 6]
    assert " ".join(servers.writes).split() == [f"{number}" for number in range(70)]


async def test_a_message_is_never_divided(servers: Servers) -> None:
    """It would be half accepted if the process died between its writes."""
    sessions = [servers.send(*[name] * 20) for name in "abc"] + [servers.send(*["d"] * 12)]
    found = [set(each.split()) for each in await written(servers, sessions)]
    assert found == [{"a"}, {"b"}, {"c", "d"}]


@pytest.mark.parametrize(
    ("octets", "writes"),
    [
        (300 * KIB, ["a b", "c d"]),
        (384 * KIB, ["a", "b", "c", "d"]),  # two and what is around them are more than 768 KiB
        (384 * KIB - 8, ["a b", "c d"]),
        (900 * KIB, ["a", "b", "c", "d"]),
    ],
)
async def test_a_write_has_768_kib_at_most(
    servers: Servers, octets: int, writes: list[str]
) -> None:
    """Or one message that is larger."""
    sessions = [servers.send(name, octets=octets) for name in "abcd"]
    assert await written(servers, sessions) == writes


# ---------------------------------------------------------------- no answer


async def test_mail_waits_a_quarter_of_a_second_for_a_write_without_an_answer(
    servers: Servers,
) -> None:
    lost = servers.send("a")
    await servers.until_writes(1)
    others = [servers.send("b"), servers.send("c")]
    await servers.until_writes(2)
    assert servers.times[1] - servers.times[0] >= 0.25
    servers.answer(1, 2)
    assert await stored(*others) == [2, 2]
    at_once = servers.send("d")
    await settled()
    assert servers.writes == ["a", "b c", "d"], "it waits for the one in doubt no more"
    servers.answer(2, 3)
    servers.answer(0, 1)
    assert await stored(lost, at_once) == [1, 3]


async def test_a_write_in_doubt_that_is_answered_at_last_begins_no_second_one(
    servers: Servers,
) -> None:
    lost = servers.send("a")
    await servers.until_writes(1)
    others = [servers.send("b")]
    await servers.until_writes(2)
    others.append(servers.send("c"))
    servers.answer(0, 1)
    await lost
    await settled()
    assert servers.writes == ["a", "b"]
    servers.answer(1, 2)
    await servers.until_writes(3)
    servers.answer(2, 3)
    assert await stored(*others) == [2, 3]


async def test_what_was_sent_is_never_written_with_other_mail(servers: Servers) -> None:
    """Nor without a part of it: the servers know a write again by its being the same."""
    sent = [servers.send("a"), servers.send("b")]
    await servers.until_writes(1)
    sent[0].cancel()  # its client has gone
    other = servers.send("c")
    await servers.until_writes(2)
    assert servers.writes == ["a b", "c"]
    servers.answer(0, 1)
    servers.answer(1, 2)
    assert await stored(sent[1], other) == [1, 2]
    assert sent[0].cancelled()
    assert servers.writes == ["a b", "c"]


async def test_a_write_is_repeated_for_as_long_as_any_of_its_messages_may_wait(
    servers: Servers,
) -> None:
    """And for a minute at most, as the servers do not know it for much longer."""
    sessions = [servers.send("a", seconds=2), servers.send("b", seconds=20)]
    sessions += [servers.send("c", seconds=600, line=OTHER_LINE)]
    await servers.until_writes(2)
    assert servers.lasting == pytest.approx([20, 60], abs=patient(1))
    for session in sessions:
        session.cancel()


# ---------------------------------------------------------------- giving up


async def cancelled(session: asyncio.Task[int]) -> None:
    session.cancel()
    with pytest.raises(asyncio.CancelledError):
        await session


async def timed_out(session: asyncio.Task[int]) -> None:
    with pytest.raises(SpoolUnavailable):
        await session


@pytest.mark.parametrize(("gives_up", "seconds"), [(cancelled, 30.0), (timed_out, 0.05)])
async def test_a_session_that_gives_up_takes_its_mail_out_of_what_was_not_sent(
    servers: Servers, gives_up: Callable[[asyncio.Task[int]], Awaitable[None]], seconds: float
) -> None:
    """Its client was told that the mail is not accepted, and sends it again."""
    first = servers.send("a")
    await servers.until_writes(1)
    gone, stays = servers.send("b", seconds=seconds), servers.send("c")
    await settled()
    await gives_up(gone)
    servers.answer(0, 1)
    await servers.until_writes(2)
    servers.answer(1, 2)
    assert await stored(first, stays) == [1, 2]
    assert servers.writes == ["a", "c"]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "error", [SpoolFull("full"), PublishRefused("refused"), SpoolUnavailable("away")]
)
async def test_each_session_hears_that_a_write_was_refused(
    servers: Servers, error: SpoolError
) -> None:
    sessions = [servers.send(name) for name in "abc"]
    await servers.until_writes(1)
    servers.refuse(0, error)
    heard = await asyncio.gather(*sessions, return_exceptions=True)
    assert [type(each) for each in heard] == [type(error)] * 3
    later = servers.send("d")
    await servers.until_writes(2)
    servers.answer(1, 4)
    assert await later == 4


async def test_no_session_waits_for_a_write_that_has_failed_by_a_fault(servers: Servers) -> None:
    sessions = [servers.send("a"), servers.send("b")]
    await servers.until_writes(1)
    servers.refuse(0, ZeroDivisionError("a fault"))
    heard = await asyncio.gather(*sessions, return_exceptions=True)
    assert [type(each) for each in heard] == [SpoolUnavailable] * 2
    later = servers.send("c")
    await servers.until_writes(2)
    servers.answer(1, 2)
    assert await later == 2


async def test_who_ends_waits_for_the_writes_under_way(servers: Servers) -> None:
    session = servers.send("a")
    await servers.until_writes(1)
    closing = asyncio.create_task(servers.committer.close())
    await settled()
    assert not closing.done()
    servers.answer(0, 1)
    await closing
    assert await session == 1
