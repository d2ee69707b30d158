"""How a connection may begin: with SMTP, and not with another protocol that looks like it."""

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import Scene

MAIL = (
    b"EHLO client.example\r\nMAIL FROM:<me@near.example>\r\nRCPT TO:<you@far.example>\r\n"
    b"DATA\r\nSubject: smuggled\r\n\r\n.\r\nQUIT\r\n"
)
NOT_SMTP = "421 4.7.0 this port speaks SMTP"

OTHERS = [
    b"POST / HTTP/1.1\r\nHost: relay.test:25\r\nContent-Type: text/plain\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"PUT /x HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT relay.test:25 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"Host: relay.test\r\n",
    b"OPTIONS sip:relay.test SIP/2.0\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"USER anonymous\r\n",
    b"a001 LOGIN me secret\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"<policy-file-request/>\0\r\n",
    b"\xff\xfd\x18\r\n",
]


@pytest.mark.parametrize("opening", OTHERS)
async def test_what_another_protocol_carries_becomes_no_mail(
    scene: Scene, peer: SmtpPeer, opening: bytes
) -> None:
    assert await peer.all_replies(opening + MAIL) == [NOT_SMTP]
    assert scene.records == []


CLIENT_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 32


@pytest.mark.parametrize("opening", [CLIENT_HELLO, b"\x03\x00\x00\x13\x0e\xe0", b"{", b"\xef\xbb"])
async def test_octets_without_a_line_are_not_waited_for(peer: SmtpPeer, opening: bytes) -> None:
    assert await peer.send(opening) == NOT_SMTP
    assert await peer.reply() == ""


async def test_also_under_tls_from_the_first_octet(scene: Scene) -> None:
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    assert await peer.send(OTHERS[0] + MAIL) == NOT_SMTP
    assert await peer.reply() == ""
    assert scene.records == []


@pytest.mark.parametrize(
    ("opening", "code"),
    [
        ("", "500 "),
        (" ", "500 "),
        ("EHLO", "501 "),
        ("ehlo client.example", "250"),
        ("LHLO client.example", "500 "),
        ("XXXX client.example", "500 "),  # a firewall has been over it
        ("XCLIENT ADDR=192.0.2.1", "500 "),
        ("MAIL FROM:<me@near.example>", "503 "),
        ("NOOP", "250 "),
        ("HELP me", "214 "),
    ],
)
async def test_mistakes_in_smtp_are_answered(peer: SmtpPeer, opening: str, code: str) -> None:
    assert (await peer.say(opening)).startswith(code)
    assert (await peer.say("EHLO client.example")).startswith("250")


async def test_behind_a_greeting_a_verb_that_is_none_is_a_mistake(peer: SmtpPeer) -> None:
    await peer.say("EHLO client.example")
    assert (await peer.say("GET / HTTP/1.1")).startswith("500 ")


async def test_a_command_may_come_octet_by_octet(peer: SmtpPeer) -> None:
    for octet in b"EHLO client.example\r":
        peer.writer.write(bytes([octet]))
        await peer.writer.drain()
    assert (await peer.send(b"\n")).startswith("250")
