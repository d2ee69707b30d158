"""The sessions of attempts: which are kept, reused, opened anew, and which are not."""

import asyncio

import pytest

from postroad.delivery.outcome import OutcomeKind
from postroad.mail.address import parse_mailbox
from postroad.spool.errors import LeaseLost
from postroad.spool.record import QueuedRecipient
from postroad.testing.patience import patient
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.attempts import Bench, summary


async def test_refused_recipients_stay_refused_when_the_session_is_lost_later() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            return HANG_UP
        return b"550 5.1.1 no\r\n" if line == b"RCPT TO:<b@y.example>" else None

    async with ScriptedMx(script) as mx, ScriptedMx() as good:
        ended = await Bench().attempt(mx, good)
        assert summary(ended) == [("Bounced", "5.1.1", "mx0"), ("Delivered", "2.0.0", "mx1")]
        assert good.messages[0].recipients == [b"RCPT TO:<c@y.example>"]


async def test_a_session_is_reused_and_the_host_tried_anew_when_it_died() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return HANG_UP if line.startswith(b"MAIL") and count == 2 else None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        for _ in range(4):
            ended = await bench.attempt(mx)
            assert summary(ended) == [("Delivered", "2.0.0", "mx0")] * 2
        assert len(mx.messages) == 4
        assert mx.connections == 2


@pytest.mark.parametrize("reply", [b"421 4.3.2 closing\r\n", HANG_UP])
@pytest.mark.parametrize(("verb", "which"), [(b"RCPT", 2), (b"DATA", 1), (b".", 1)])
async def test_a_host_that_closes_in_the_middle_has_had_its_try(
    verb: bytes, which: int, reply: bytes
) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return reply if line.split()[0] == verb and count == which else None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        for kind in ("Delivered", "Deferred"):
            ended = await bench.attempt(mx)
            assert [outcome.kind.value for outcome in ended.outcomes.values()] == [kind] * 2
            assert ended.reached
        assert mx.connections == 1, "not asked again at once: its limits count one message"


@pytest.mark.parametrize(("most", "messages", "connections"), [(1, 3, 3), (2, 5, 3), (100, 5, 1)])
async def test_messages_per_connection_are_exact(
    most: int, messages: int, connections: int
) -> None:
    async with ScriptedMx() as mx:
        bench = Bench(messages_per_connection=most)
        for _ in range(messages):
            await bench.attempt(mx)
        assert (len(mx.messages), mx.connections) == (messages, connections)


async def test_very_many_recipients_are_sent_to_a_hundred_at_a_time() -> None:
    recipients = tuple(QueuedRecipient(parse_mailbox(f"r{n}@y.example")) for n in range(250))
    async with ScriptedMx() as mx:
        ended = await Bench(messages_per_connection=2).attempt(mx, recipients=recipients)
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert len(ended.outcomes) == 250
        assert [len(message.recipients) for message in mx.messages] == [100, 100, 50]
        assert mx.connections == 2


async def test_a_host_that_closes_after_the_first_hundred_gets_the_rest_on_a_new_session() -> None:
    recipients = tuple(QueuedRecipient(parse_mailbox(f"r{n}@y.example")) for n in range(150))

    def script(line: bytes, count: int) -> bytes | None:
        return b"421 4.3.2 enough\r\n" if line.startswith(b"MAIL") and count == 2 else None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        await bench.attempt(mx)
        ended = await bench.attempt(mx, recipients=recipients)
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert [len(message.recipients) for message in mx.messages] == [2, 100, 50]
        assert mx.connections == 2


async def test_idle_sessions_leave_before_the_site_has_too_many() -> None:
    async with ScriptedMx() as one, ScriptedMx() as two:
        bench = Bench(connections=1)
        await bench.attempt(one)
        assert one.open_now == 1, "idle, for the next message"
        await bench.attempt(two)
        assert one.commands[-1] == b"QUIT"
        assert bench.pool.surplus("site", 1) == []


async def test_no_session_is_kept_for_the_mail_of_a_lane_that_was_left() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            leaving.append(asyncio.ensure_future(bench.consumer.stop()))
        return None

    leaving: list[asyncio.Future[None]] = []
    async with ScriptedMx(script) as mx:
        bench = Bench()
        await bench.attempt(mx)
        async with asyncio.timeout(patient(5)):
            while mx.open_now:
                await asyncio.sleep(0)
        assert mx.commands[-1] == b"QUIT"


@pytest.mark.parametrize("stale", [True, False])
async def test_nothing_is_sent_on_a_lease_that_is_in_doubt(stale: bool) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            bench.consumer.stale = True  # between MAIL and the final dot
        return None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        bench.consumer.stale = stale
        with pytest.raises(LeaseLost):
            await bench.attempt(mx)
        assert mx.messages == []
        assert (b"DATA" in mx.commands) is not stale
        assert mx.connections == (0 if stale else 1), "in doubt from the start, not even that"
        assert bench.pool.take(("relay:a/b", "mx0", "127.0.0.1", mx.port, None), 0.0) is None
