"""Many recipients: as many per transaction as the peer accepts, the rest in further ones."""

import pytest

from postroad.delivery.outcome import OutcomeKind
from postroad.mail.address import parse_mailbox
from postroad.spool.record import QueuedRecipient
from postroad.testing.peers.mx import Script, ScriptedMx
from postroad.testing.processes.attempts import Bench, summary

TOO_MANY = b"452 4.5.3 too many recipients\r\n"


def recipients(count: int) -> tuple[QueuedRecipient, ...]:
    return tuple(QueuedRecipient(parse_mailbox(f"r{n}@y.example")) for n in range(count))


def taking(most: int, refusal: bytes = TOO_MANY) -> Script:
    """Return a script that takes so many recipients of a message."""
    heard = 0

    def script(line: bytes, count: int) -> bytes | None:
        nonlocal heard
        if line.startswith(b"MAIL"):
            heard = 0
        if not line.startswith(b"RCPT"):
            return None
        heard += 1
        return refusal if heard > most else None

    return script


def said(mx: ScriptedMx) -> list[int]:
    """Return how many recipients were said in each transaction."""
    counts: list[int] = []
    for line in mx.commands:
        if line.startswith(b"MAIL"):
            counts.append(0)
        elif line.startswith(b"RCPT"):
            counts[-1] += 1
    return counts


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize(
    "refusal",
    [
        TOO_MANY,
        b"452 too many\r\n",
        b"552 too many\r\n",
        b"450 4.5.3 enough\r\n",
        b"550 5.5.3 enough\r\n",
        b"552 5.5.3 enough\r\n",
    ],
)
async def test_the_rest_goes_out_at_once_in_the_same_session(
    refusal: bytes, extensions: tuple[str, ...]
) -> None:
    async with ScriptedMx(taking(5, refusal), extensions=extensions) as mx:
        bench = Bench()
        ended = await bench.attempt(mx, recipients=recipients(20))
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert len(ended.outcomes) == 20
        assert len(mx.messages) == 4
        assert mx.connections == 1
        assert said(mx) == [20, 5, 5, 5], "the number is learned"
        await bench.attempt(mx, recipients=recipients(7))
        assert said(mx)[4:] == [5, 2], "and remembered"


async def test_what_was_the_number_of_a_bad_moment_grows_again() -> None:
    bad = taking(5)
    is_bad = True

    def script(line: bytes, count: int) -> bytes | None:
        return bad(line, count) if is_bad else None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        await bench.attempt(mx, recipients=recipients(10))
        is_bad = False
        for _ in range(10):
            await bench.attempt(mx, recipients=recipients(10))
    assert said(mx)[:4] == [10, 5, 5, 5]
    assert said(mx)[-2:] == [10, 10]


async def test_a_limit_that_is_announced_is_kept() -> None:
    extensions = ("PIPELINING", "LIMITS RCPTMAX=5 MAILMAX=3")
    async with ScriptedMx(taking(5), extensions=extensions) as mx:
        ended = await Bench().attempt(mx, recipients=recipients(20))
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert said(mx) == [5, 5, 5, 5]
        assert mx.connections == 2, "no more messages in a session, either"


async def test_who_takes_nobody_is_not_asked_for_ever() -> None:
    async with ScriptedMx(taking(0)) as mx, ScriptedMx() as good:
        assert summary(await Bench().attempt(mx)) == [("Deferred", "4.5.3", "mx0")] * 2
        assert said(mx) == [2]
        assert summary(await Bench().attempt(mx, good)) == [("Delivered", "2.0.0", "mx1")] * 2


async def test_a_mailbox_that_says_452_holds_up_nobody_and_teaches_nothing() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"452 no room\r\n" if line == b"RCPT TO:<r1@y.example>" else None

    async with ScriptedMx(script) as mx:
        bench = Bench()
        ended = await bench.attempt(mx, recipients=recipients(5))
        kinds = [ended.outcomes[number].kind.value for number in range(5)]
        assert kinds == ["Delivered", "Deferred", "Delivered", "Delivered", "Delivered"]
        assert said(mx) == [5, 1], "asked once more, alone"
        await bench.attempt(mx, recipients=recipients(5))
        assert said(mx)[2:] == [5, 1]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"552 5.2.2 mailbox full\r\n", ("Bounced", "5.2.2")),
        (b"552 full\r\n", ("Deferred", "4.0.0")),
        (b"552 5.3.4 too big\r\n", ("Deferred", "4.3.4")),
        (b"452 4.2.2 mailbox full\r\n", ("Deferred", "4.2.2")),
    ],
)
async def test_a_full_mailbox_is_no_matter_of_numbers(
    reply: bytes, expected: tuple[str, str]
) -> None:
    async with ScriptedMx(lambda line, _: reply if line.startswith(b"RCPT") else None) as mx:
        ended = await Bench().attempt(mx)
        assert [found[:2] for found in summary(ended)] == [expected] * 2
        assert ended.outcomes[0].text == reply.decode().strip(), "as it came"


async def test_a_session_that_ends_among_many_goes_on_in_another() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"421 4.3.2 enough\r\n" if line.startswith(b"MAIL") and count in (1, 3) else None

    async with ScriptedMx(script) as mx:
        ended = await Bench().attempt(mx, recipients=recipients(250))
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert [len(message.recipients) for message in mx.messages] == [100, 100, 50]
        assert mx.connections == 3
