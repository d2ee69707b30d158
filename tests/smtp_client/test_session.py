"""A session with a scripted server: what is sent, and how replies are understood."""

import ssl
from collections.abc import AsyncIterator

import pytest

from postroad.mail.address import parse_mailbox
from postroad.policy.model import TlsMode
from postroad.smtp_client.opening import open_session as open_to
from postroad.smtp_client.peer import Peer, Timeouts
from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing, TransactionReplies
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.peers.transact import transact as send_whole

CONTENT = b"Subject: hi\r\n\r\n.dotted\r\nbody\r\n"


async def open_session(mx: ScriptedMx) -> Session:
    peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=TlsMode.NONE)
    return await open_to(peer, Timeouts())


def outgoing(*to: str, content: bytes | AsyncIterator[bytes] = CONTENT, **more: object) -> Outgoing:
    recipients = tuple(parse_mailbox(address) for address in to or ("b@y.example",))
    fields: dict[str, object] = {"size": len(CONTENT)} | more
    return Outgoing(parse_mailbox("a@x.example"), recipients, content, **fields)  # type: ignore[arg-type]


async def transact(session: Session, message: Outgoing) -> TransactionReplies:
    transaction = TransactionReplies(recipients=[None] * len(message.recipients))
    await send_whole(session, message, transaction)
    return transaction


def codes(transaction: TransactionReplies) -> list[int | None]:
    replies = [transaction.decision_for(number)[1] for number in range(len(transaction.recipients))]
    return [reply.code if reply else None for reply in replies]


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_a_message_arrives_as_it_is(extensions: tuple[str, ...]) -> None:
    async with ScriptedMx(extensions=extensions) as mx:
        session = await open_session(mx)
        transaction = await transact(session, outgoing("b@y.example", "c@y.example"))
        assert codes(transaction) == [250, 250]
        [message] = await mx.received(1)
        assert message.content == CONTENT
        assert message.mail == b"MAIL FROM:<a@x.example>"
        assert message.recipients == [b"RCPT TO:<b@y.example>", b"RCPT TO:<c@y.example>"]
        await session.quit()
        assert mx.commands[-1] == b"QUIT"


async def test_content_in_chunks_arrives_whole() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(CONTENT), 3):
            yield CONTENT[start : start + 3]

    async with ScriptedMx() as mx:
        await transact(await open_session(mx), outgoing(content=chunks()))
        [message] = await mx.received(1)
        assert message.content == CONTENT


@pytest.mark.parametrize(
    ("extensions", "more", "mail"),
    [
        ((), {}, b"MAIL FROM:<a@x.example>"),
        (("SIZE",), {}, b"MAIL FROM:<a@x.example>"),
        (("SIZE 1000",), {}, b"MAIL FROM:<a@x.example> SIZE=%d" % len(CONTENT)),
        ((), {"eight_bit": True}, b"MAIL FROM:<a@x.example>"),
        (("8BITMIME",), {"eight_bit": True}, b"MAIL FROM:<a@x.example> BODY=8BITMIME"),
        (("SMTPUTF8",), {"smtputf8": True}, b"MAIL FROM:<a@x.example> SMTPUTF8"),
        (("SMTPUTF8", "8BITMIME"), {}, b"MAIL FROM:<a@x.example>"),
        ((), {"mail_parameters": ("RET=HDRS",)}, b"MAIL FROM:<a@x.example>"),
        (("DSN",), {"mail_parameters": ("RET=HDRS",)}, b"MAIL FROM:<a@x.example> RET=HDRS"),
    ],
)
async def test_only_what_was_announced_is_used(
    extensions: tuple[str, ...], more: dict[str, object], mail: bytes
) -> None:
    async with ScriptedMx(extensions=extensions) as mx:
        transaction = await transact(await open_session(mx), outgoing(**more))  # type: ignore[arg-type]
        assert codes(transaction) == [250]
        assert (await mx.received(1))[0].mail == mail


@pytest.mark.parametrize(
    ("extensions", "more", "code"),
    [(("SIZE 10",), {}, 552), ((), {"smtputf8": True}, 550)],
)
async def test_what_a_server_does_not_take_is_refused_without_asking(
    extensions: tuple[str, ...], more: dict[str, object], code: int
) -> None:
    async with ScriptedMx(extensions=extensions) as mx:
        session = await open_session(mx)
        transaction = await transact(session, outgoing("b@y.example", "c@y.example", **more))  # type: ignore[arg-type]
        assert codes(transaction) == [code, code]
        assert transaction.unasked
        assert [line.split()[0] for line in mx.commands] == [b"EHLO"]
        assert session.reusable


async def test_a_server_without_ehlo_is_spoken_to_in_plain_smtp() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"502 5.5.1 what?\r\n" if line.startswith(b"EHLO") else None

    async with ScriptedMx(script) as mx:
        transaction = await transact(await open_session(mx), outgoing(eight_bit=True))
        assert codes(transaction) == [250]
        verbs = [line.split()[0] for line in mx.commands]
        assert verbs[:5] == [b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA"]
        assert mx.commands[2] == b"MAIL FROM:<a@x.example>"


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_each_recipient_has_an_outcome_of_its_own(extensions: tuple[str, ...]) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        refusals = {b"c": b"550 5.1.1 no such user\r\n", b"d": b"452 4.2.2 full\r\n"}
        return refusals.get(line[9:10]) if line.startswith(b"RCPT") else None

    async with ScriptedMx(script, extensions=extensions) as mx:
        session = await open_session(mx)
        to = ["b@y.example", "c@y.example", "d@y.example", "e@y.example"]
        assert codes(await transact(session, outgoing(*to))) == [250, 550, 452, 250]
        assert codes(await transact(session, outgoing("b@y.example"))) == [250]
        assert len(await mx.received(2)) == 2
        assert mx.connections == 1
        assert session.messages == 2


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
@pytest.mark.parametrize("data", [b"554 5.5.1 no valid recipients\r\n", None])
async def test_nothing_is_sent_when_nobody_takes_it_and_the_session_goes_on(
    extensions: tuple[str, ...], data: bytes | None
) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        if line.startswith(b"RCPT TO:<no"):
            return b"550 5.1.1 no such user\r\n"
        return data if line == b"DATA" and count == 0 and extensions else None

    async with ScriptedMx(script, extensions=extensions) as mx:
        session = await open_session(mx)
        refused = await transact(session, outgoing("no@y.example", "no2@y.example"))
        assert codes(refused) == [550, 550]
        assert (b"DATA" in mx.commands) is bool(extensions)
        assert mx.messages == []
        assert codes(await transact(session, outgoing())) == [250]
        assert mx.connections == 1


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
async def test_a_refused_sender_is_every_recipient_s_outcome(extensions: tuple[str, ...]) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"550 5.7.1 not you\r\n" if line.startswith(b"MAIL") and count == 0 else None

    async with ScriptedMx(script, extensions=extensions) as mx:
        session = await open_session(mx)
        to = ("b@y.example", "c@y.example")
        assert codes(await transact(session, outgoing(*to))) == [550, 550]
        assert codes(await transact(session, outgoing(*to))) == [250, 250]
        assert len(await mx.received(1)) == 1


async def test_a_message_that_its_sender_does_not_end_is_none() -> None:
    async with ScriptedMx() as mx:
        session, message = await open_session(mx), outgoing()
        assert await session.begin(message, TransactionReplies(recipients=[None]))
        assert await session.send(message)
        session.abort()
        assert not session.reusable
        assert mx.messages == []


async def test_the_next_envelope_goes_out_with_the_final_dot_and_no_other_may_follow() -> None:
    async with ScriptedMx() as mx:
        session, message, following = await open_session(mx), outgoing(), outgoing("c@y.example")
        transaction = TransactionReplies(recipients=[None])
        assert await session.begin(message, transaction)
        assert await session.send(message)
        assert session.goes_ahead
        await session.end(transaction, following)
        assert codes(transaction) == [250]
        assert session.is_ahead
        assert session.ready_for(following)
        assert not session.ready_for(message)
        assert codes(await transact(session, following)) == [250]
        assert [message.recipients for message in mx.messages] == [
            [b"RCPT TO:<b@y.example>"],
            [b"RCPT TO:<c@y.example>"],
        ]


async def test_content_that_breaks_off_is_never_ended() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"Subject: half\r\n"
        raise OSError("the body is gone")

    async with ScriptedMx() as mx:
        session = await open_session(mx)
        with pytest.raises(OSError, match="the body is gone"):
            await transact(session, outgoing(content=broken()))
        assert not session.reusable
        assert mx.messages == []


async def test_under_tls_the_extensions_are_asked_for_again(mx_tls: ssl.SSLContext) -> None:
    async with ScriptedMx(tls=mx_tls) as mx:
        peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test")
        session = await open_to(peer, Timeouts())
        assert session.tls.startswith("TLSv1.")
        await transact(session, outgoing())
        assert (await mx.received(1))[0].tls
        verbs = [line.split()[0] for line in mx.commands]
        assert verbs[:3] == [b"EHLO", b"STARTTLS", b"EHLO"]
