"""One attempt: it tries host after host until each recipient has an outcome."""

import asyncio
import time
from datetime import timedelta

import pytest

from postroad.delivery.outcome import OutcomeKind
from postroad.delivery.routing.routes import MailHost
from postroad.mail.address import parse_mailbox
from postroad.mail.envelope import Body
from postroad.smtp_client.outages import NetworkPath
from postroad.spool.record import QueuedRecipient, RecipientState
from postroad.testing.peers.mx import HANG_UP, SILENCE, Script, ScriptedMx
from postroad.testing.processes.attempts import TO, Bench, summary


def saying(verb: bytes, reply: bytes) -> Script:
    return lambda line, count: reply if line.split()[0] == verb else None


async def test_several_recipients_are_one_transaction() -> None:
    async with ScriptedMx() as mx:
        ended = await Bench().attempt(mx)
        assert summary(ended) == [("Delivered", "2.0.0", "mx0")] * 2
        assert ended.reached
        assert ended.peer_address == "127.0.0.1"
        [message] = mx.messages
        assert message.recipients == [b"RCPT TO:<b@y.example>", b"RCPT TO:<c@y.example>"]


async def test_recipients_that_are_done_are_not_sent_to_again() -> None:
    done = QueuedRecipient(parse_mailbox(TO[0]), state=RecipientState.DELIVERED)
    left = QueuedRecipient(parse_mailbox(TO[1]))
    async with ScriptedMx() as mx:
        ended = await Bench().attempt(mx, recipients=(done, left))
        assert list(ended.outcomes) == [1]
        assert mx.messages[0].recipients == [b"RCPT TO:<c@y.example>"]


# What the first host does, what becomes of the mail, and whether the next host is asked.
Fault = tuple[Script | None, dict[str, object], str, str, bool]
FAULTS: dict[str, Fault] = {
    "greeting 5yz": (None, {"greeting": b"554 5.7.1 no\r\n"}, "Deferred", "4.4.2", True),
    "greeting 421": (None, {"greeting": b"421 4.3.2 no\r\n"}, "Deferred", "4.4.2", True),
    "EHLO 4yz": (saying(b"EHLO", b"451 no\r\n"), {}, "Deferred", "4.4.2", True),
    "MAIL 421": (saying(b"MAIL", b"421 4.7.0 no\r\n"), {}, "Deferred", "4.7.0", True),
    "RCPT 421": (saying(b"RCPT", b"421 4.7.0 no\r\n"), {}, "Deferred", "4.7.0", True),
    "DATA 421": (saying(b"DATA", b"421 4.7.0 no\r\n"), {}, "Deferred", "4.7.0", True),
    "dot 421": (saying(b".", b"421 4.7.0 no\r\n"), {}, "Deferred", "4.7.0", True),
    "MAIL lost": (saying(b"MAIL", HANG_UP), {}, "Deferred", "4.4.2", True),
    "DATA 250": (saying(b"DATA", b"250 2.0.0 ok\r\n"), {}, "Deferred", "4.4.2", True),
    "DATA lost": (saying(b"DATA", HANG_UP), {}, "Deferred", "4.4.2", True),
    "dot lost": (saying(b".", HANG_UP), {}, "Deferred", "4.4.2", False),
    "dot frozen": (saying(b".", b"250-\r\n"), {}, "Deferred", "4.4.2", False),
    "MAIL 4yz": (saying(b"MAIL", b"451 4.7.1 no\r\n"), {}, "Deferred", "4.7.1", True),
    "RCPT 5yz": (saying(b"RCPT", b"550 5.1.1 no\r\n"), {}, "Bounced", "5.1.1", False),
    "dot 4yz": (saying(b".", b"452 4.2.2 no\r\n"), {}, "Deferred", "4.2.2", True),
    "dot 5yz": (saying(b".", b"554 5.6.0 no\r\n"), {}, "Bounced", "5.6.0", False),
    "too big": (None, {"extensions": ("SIZE 5",)}, "Bounced", "5.3.4", True),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_a_host_says_of_itself_leads_to_the_next_host(name: str) -> None:
    script, more, kind, status, goes_on = FAULTS[name]
    server = ScriptedMx(script or (lambda line, count: None), **more)  # type: ignore[arg-type]
    async with server as mx, ScriptedMx() as good:
        alone = await Bench().attempt(mx)
        assert [outcome[:2] for outcome in summary(alone)] == [(kind, status)] * 2
        assert alone.reached is not name.startswith(("greeting", "EHLO")), "it gave a session"
        doubtful = {outcome.ambiguous for outcome in alone.outcomes.values()}
        assert doubtful == {name in ("dot lost", "dot frozen")}
        both = await Bench().attempt(mx, good)
        kinds = {outcome.kind.value for outcome in both.outcomes.values()}
        assert kinds == ({"Delivered"} if goes_on else {kind})
        assert len(good.messages) == int(goes_on)


async def test_recipients_taken_after_a_refusal_of_the_sender_get_no_empty_message() -> None:
    """RFC 2920 §3.1 has DATA ended by a dot where it was begun: here somebody would get that."""
    dots = []

    def script(line: bytes, count: int) -> bytes | None:
        match line.split()[0]:
            case b"MAIL":
                return b"550 5.7.1 not from you\r\n"
            case b"RCPT":
                return b"250 2.1.5 fine\r\n"
            case b"DATA":
                return b"354 go on\r\n"
            case b".":
                dots.append(count)
        return None

    async with ScriptedMx(script) as mx:
        ended = await Bench().attempt(mx)
    assert summary(ended) == [("Bounced", "5.7.1", "mx0")] * 2
    assert mx.commands[-1] == b"DATA"
    assert dots == []


async def test_the_last_host_s_answer_stands() -> None:
    one = ScriptedMx(saying(b"MAIL", b"451 4.3.0 not now\r\n"))
    two = ScriptedMx(saying(b"RCPT", b"452 4.2.2 full\r\n"))
    async with ScriptedMx() as away:
        port = away.port
    async with one, two:
        ended = await Bench().attempt(one, two, port)
        assert summary(ended) == [("Deferred", "4.2.2", "mx1")] * 2, "who is away says nothing"


async def test_each_recipient_is_left_to_the_next_host_by_itself() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"450 4.2.1 later\r\n" if line == b"RCPT TO:<c@y.example>" else None

    async with ScriptedMx(script) as mx, ScriptedMx() as good:
        ended = await Bench().attempt(mx, good)
        assert summary(ended) == [("Delivered", "2.0.0", "mx0"), ("Delivered", "2.0.0", "mx1")]
        assert good.messages[0].recipients == [b"RCPT TO:<c@y.example>"]


@pytest.mark.parametrize(
    "reply", [b"250ok\r\n", b"250-2.0.0 taken\r\n251 2.0.0 as 12345\r\n", b"250-hm\r\n250\r\n"]
)
async def test_a_positive_answer_to_the_dot_in_an_odd_form_is_one(reply: bytes) -> None:
    async with ScriptedMx(saying(b".", reply)) as mx:
        ended = await Bench().attempt(mx)
        assert {outcome.kind for outcome in ended.outcomes.values()} == {OutcomeKind.DELIVERED}
        assert len(mx.messages) == 1


async def test_a_refusal_behind_a_line_of_another_code_is_one() -> None:
    reply = b"250-checking\r\n550 5.1.1 no such user\r\n"
    async with ScriptedMx(saying(b"RCPT", reply)) as mx:
        assert summary(await Bench().attempt(mx)) == [("Bounced", "5.1.1", "mx0")] * 2


async def test_a_greeting_with_a_line_without_a_code_is_one() -> None:
    greeting = b"220-host\r\n  *** authorised use only ***\r\n220 ready\r\n"
    async with ScriptedMx(greeting=greeting) as mx:
        assert summary(await Bench().attempt(mx)) == [("Delivered", "2.0.0", "mx0")] * 2


async def test_nobody_there_is_a_deferral_that_quotes_nobody() -> None:
    async with ScriptedMx() as mx:
        port = mx.port
    ended = await Bench().attempt(port)
    assert summary(ended) == [("Deferred", "4.4.1", "mx0")] * 2
    assert not ended.reached
    assert not ended.outcomes[0].answered
    assert ended.outcomes[0].text.startswith("mx0 (127.0.0.1): ")


async def test_a_host_that_is_away_is_passed_over() -> None:
    async with ScriptedMx() as mx:
        port = mx.port
    async with ScriptedMx() as good:
        assert summary(await Bench().attempt(port, good)) == [("Delivered", "2.0.0", "mx1")] * 2


async def test_eight_bit_and_smtputf8_are_asked_for_where_the_mail_needs_them() -> None:
    utf8 = (QueuedRecipient(parse_mailbox("pelé@y.example")),)
    async with ScriptedMx() as mx:
        bench = Bench()
        await bench.attempt(mx, body=Body.EIGHT_BIT, smtputf8=True)
        assert mx.messages[0].mail.endswith(b"BODY=8BITMIME")
        await bench.attempt(mx, smtputf8=True, recipients=utf8)
        assert mx.messages[1].mail.endswith(b"SMTPUTF8")


async def test_a_body_in_the_blob_store_arrives_behind_its_trace() -> None:
    async with ScriptedMx() as mx:
        bench = Bench()
        body = bench.spool.write_body(lifetime=timedelta(days=1))
        dots = b"." * 70 + b"\r\n"
        content = b"Subject: big\r\n\r\n" + dots + (b"x" * 70 + b"\r\n") * 15_000
        await body.write(content)
        reference = await body.finish(destinations=1)
        await bench.attempt(mx, content=reference, trace=b"Received: by relay.test\r\n")
        assert mx.messages[0].content == b"Received: by relay.test\r\n" + content


async def test_addresses_without_a_route_leave_the_tries_to_others() -> None:
    """As on a machine without IPv6, where a host has more such addresses than there are tries."""
    nowhere = tuple(f"ff02::{n}" for n in range(1, 9))  # refused by the kernel, at once
    async with ScriptedMx() as mx:
        bench = Bench()
        hosts = (MailHost("six", mx.port, nowhere), MailHost("four", mx.port, ("127.0.0.1",)))
        assert summary(await bench.attempt_at(*hosts)) == [("Delivered", "2.0.0", "four")] * 2


async def test_a_dead_host_costs_its_time_only_once() -> None:
    bench = Bench(messages_per_connection=1)
    async with ScriptedMx(greeting=SILENCE) as dead, ScriptedMx() as good:
        for _ in range(3):
            ended = await bench.attempt(dead, good)
            assert [outcome.host for outcome in ended.outcomes.values()] == ["mx1"] * 2
        assert dead.connections == 1
        assert good.connections == 3


async def test_one_mail_finds_out_whether_a_dead_host_is_back() -> None:
    one, other = Bench(), Bench()
    other.context.outages = outages = one.context.outages
    async with ScriptedMx(greeting=SILENCE) as dead, ScriptedMx() as good:
        outages.fails(NetworkPath("127.0.0.1", dead.port), time.monotonic() - 61.0)
        await asyncio.gather(one.attempt(dead, good), other.attempt(dead, good))
        assert (dead.connections, len(good.messages)) == (1, 2)


async def test_a_dead_host_is_tried_all_the_same_where_there_is_no_other() -> None:
    bench = Bench()
    async with ScriptedMx(greeting=SILENCE) as dead:
        for _ in range(2):
            assert not (await bench.attempt(dead)).reached
        assert dead.connections == 2


async def test_a_host_that_wants_no_session_now_is_not_dead() -> None:
    bench = Bench()
    async with ScriptedMx(greeting=b"421 4.3.2 later\r\n") as busy, ScriptedMx() as good:
        for _ in range(2):
            await bench.attempt(busy, good)
        assert busy.connections == 2
