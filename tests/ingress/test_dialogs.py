"""Sessions as clients have them: the replies, their order, and what is stored."""

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.mail.envelope import Body
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene

HELLO = "EHLO client.example"
FROM = "MAIL FROM:<me@near.example>"
TO = "RCPT TO:<you@far.example>"


async def test_a_message_is_queued_and_its_reply_names_it(scene: Scene, peer: SmtpPeer) -> None:
    assert await peer.envelope("me@near.example", "you@far.example") == [
        "250 2.1.0 sender ok",
        "250 2.1.5 recipient ok",
    ]
    reply = await peer.message(b"Subject: hi\r\n\r\nhello\r\n")
    [record] = scene.records
    assert reply == f"250 2.0.0 queued as {record.record_id.queue_id}"
    assert str(record.reverse_path) == "me@near.example"
    assert [str(recipient.mailbox) for recipient in record.recipients] == ["you@far.example"]
    assert await scene.body() == b"Subject: hi\r\n\r\nhello\r\n"
    assert record.trace.startswith(b"Received: from client.example")
    assert record.record_id.queue_id.encode() in record.trace
    assert (await peer.say("QUIT")) == "221 2.0.0 bye"
    assert await peer.reply() == ""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ListenerKind.RELAY, {"STARTTLS"}),
        (ListenerKind.SUBMISSION, {"STARTTLS"}),
        (ListenerKind.SUBMISSIONS, {"AUTH PLAIN LOGIN"}),
    ],
)
async def test_each_port_announces_what_it_can(
    scene: Scene, kind: ListenerKind, words: set[str]
) -> None:
    peer = await scene.peer(kind)
    first, *rest = (await peer.say(HELLO)).splitlines()
    assert first.startswith("250-relay.test ")
    common = {"PIPELINING", "SIZE 50000000", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"}
    assert {line[4:] for line in rest} == common | words


async def test_helo_announces_nothing_and_takes_no_parameters(peer: SmtpPeer) -> None:
    assert await peer.say("HELO client.example") == "250 relay.test"
    assert (await peer.say(FROM + " SIZE=10")).startswith("555 5.5.4 ")
    assert (await peer.say(FROM)).startswith("250 2.1.0 ")


@pytest.mark.parametrize(
    ("before", "line", "code"),
    [
        ([], "MAIL FROM:<me@near.example>", "503 5.5.1 "),
        ([HELLO], "RCPT TO:<you@far.example>", "503 5.5.1 "),
        ([HELLO], "DATA", "503 5.5.1 "),
        ([HELLO, FROM], "DATA", "503 5.5.1 "),
        ([HELLO, FROM], FROM, "503 5.5.1 "),
        ([HELLO, FROM, TO], "DATA now", "501 5.5.4 "),
        ([HELLO, FROM], "RSET now", "501 5.5.4 "),
        ([], "EHLO", "501 5.5.4 "),
        ([HELLO], "MAIL me@near.example", "501 5.5.4 "),
        ([HELLO], "MAIL FROM:me@near.example", "501 5.5.4 "),
        ([HELLO], "MAIL FROM:<me@near.example", "501 5.5.4 "),
        ([HELLO], "MAIL FROM:<me@@near.example>", "553 5.1.7 "),
        ([HELLO], "MAIL FROM:<me@near.example> SIZE", "501 5.5.4 "),
        ([HELLO], "MAIL FROM:<me@near.example> SIZE=1 SIZE=2", "501 5.5.4 "),
        ([HELLO], "MAIL FROM:<me@near.example> SIZE=50000001", "552 5.3.4 "),
        ([HELLO], "MAIL FROM:<me@near.example> SMTPUTF8=1", "501 5.5.4 SMTPUTF8 takes no value"),
        ([HELLO], "MAIL FROM:<me@near.example> BODY", "501 5.5.4 BODY needs a value"),
        ([HELLO], "MAIL FROM:<me@near.example> AUTH", "501 5.5.4 AUTH needs a value"),
        ([HELLO], "MAIL FROM:<me@near.example> BODY=BINARYMIME", "555 5.5.4 "),
        ([HELLO], "MAIL FROM:<me@near.example> COLOUR=red", "555 5.5.4 "),
        ([HELLO], "MAIL FROM:<mé@near.example>", "553 5.6.7 "),
        ([HELLO, FROM], "RCPT TO:<>", "553 5.1.3 "),
        ([HELLO, FROM], "RCPT TO:<you>", "553 5.1.3 "),
        ([HELLO, FROM], "RCPT TO:<yöu@far.example>", "553 5.6.7 "),
        ([HELLO, FROM], TO + " NOTIFY=MAYBE", "555 5.5.4 "),
        ([], "VRFY", "501 5.5.4 "),
        ([], "VRFY you", "252 2.1.5 "),
        ([], "EXPN staff", "500 5.5.1 "),
        ([], "TURN", "500 5.5.1 "),
        ([], "", "500 5.5.1 "),
        ([], "HELP", "214 2.0.0 "),
        ([], "NOOP whatever", "250 2.0.0 "),
        ([], "helo client.example", "250 relay.test"),
    ],
)
async def test_commands_are_answered_by_their_order_and_syntax(
    peer: SmtpPeer, before: list[str], line: str, code: str
) -> None:
    for earlier in before:
        assert (await peer.say(earlier)).startswith("250")
    assert (await peer.say(line)).startswith(code)
    assert (await peer.say("NOOP")).startswith("250 ")  # and the session goes on


async def test_a_whole_transaction_may_come_in_one_write(scene: Scene, peer: SmtpPeer) -> None:
    await peer.say(HELLO)
    one = f"{FROM}\r\n{TO}\r\nDATA\r\n".encode()
    peer.writer.write(one)
    replies = [await peer.reply() for _ in range(3)]
    assert [reply[:3] for reply in replies] == ["250", "250", "354"]
    # The content, and the whole next transaction behind it.
    peer.writer.write(b"one\r\n.\r\n" + one)
    replies = [await peer.reply() for _ in range(4)]
    assert [reply[:3] for reply in replies] == ["250", "250", "250", "354"]
    assert (await peer.send(b"two\r\n.\r\nQUIT\r\n")).startswith("250 ")
    assert (await peer.reply()).startswith("221 ")
    assert [await scene.body(0), await scene.body(1)] == [b"one\r\n", b"two\r\n"]


async def test_rset_and_ehlo_forget_the_transaction(peer: SmtpPeer) -> None:
    for forget in ("RSET", HELLO):
        await peer.envelope("me@near.example", "you@far.example")
        assert (await peer.say(forget)).startswith("250")
        assert (await peer.say("DATA")).startswith("503 5.5.1 ")


async def test_dots_are_unstuffed(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(b"..one\r\n...\r\nin .the. middle\r\n..\r\n")).startswith("250 ")
    assert await scene.body() == b".one\r\n..\r\nin .the. middle\r\n.\r\n"


async def test_an_empty_message_is_a_message(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(b"")).startswith("250 ")
    assert await scene.body() == b""


async def test_what_the_envelope_says_is_in_the_record(scene: Scene, peer: SmtpPeer) -> None:
    await peer.say(HELLO)
    await peer.say("MAIL FROM:<mé@near.example> SIZE=20 BODY=8BITMIME SMTPUTF8")
    assert (await peer.say('RCPT TO:<"yöu and me"@Bücher.example>')).startswith("250 ")
    assert (await peer.message("Subject: größe\r\n".encode())).startswith("250 ")
    [record] = scene.records
    assert (record.body, record.smtputf8) == (Body.EIGHT_BIT, True)
    assert record.recipients[0].mailbox.local_part == '"yöu and me"'
    assert record.domain == "xn--bcher-kva.example"


async def test_the_null_reverse_path_is_taken(scene: Scene, peer: SmtpPeer) -> None:
    assert (await peer.envelope("", "known@here.example"))[1].startswith("250 ")
    assert (await peer.message()).startswith("250 ")
    assert scene.records[0].reverse_path is None


async def test_mail_to_several_domains_is_one_record_for_each(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "a@one.example", "b@two.example", "c@One.example")
    reply = await peer.message()
    first, second = scene.records
    assert [str(r.mailbox) for r in first.recipients] == ["a@one.example", "c@one.example"]
    assert [str(r.mailbox) for r in second.recipients] == ["b@two.example"]
    assert first.record_id.queue_id == second.record_id.queue_id == reply.split()[-1]


async def test_a_recipient_named_twice_gets_it_once(scene: Scene, peer: SmtpPeer) -> None:
    await peer.envelope("me@near.example", "a@one.example", "a@ONE.example")
    await peer.message()
    assert len(scene.records[0].recipients) == 1


async def test_a_submitted_message_gets_the_fields_it_lacks(open_scene: OpenScene) -> None:
    scene = await open_scene()
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.envelope("me@near.example", "you@far.example")
    await peer.message(b"Subject: no date\r\n\r\n")
    assert b"\r\nDate: " in scene.records[0].trace
    assert b"\r\nMessage-ID: <" in scene.records[0].trace
    relayed = await scene.peer()
    await relayed.envelope("me@near.example", "you@far.example")
    await relayed.message(b"Subject: no date\r\n\r\n")
    assert b"\r\nDate: " not in scene.records[1].trace
