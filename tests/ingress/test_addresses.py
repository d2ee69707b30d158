"""Addresses in MAIL and RCPT: kept as they are, completed for Clients, refused if invalid."""

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.smtp import command
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

HELLO = "EHLO client.example"
ANYBODY = MANIFESTS.replace('senders: ["*@near.example"]', 'senders: ["*"]')


@pytest.mark.parametrize(
    "path",
    [
        f"<{'a' * 65}@x.example>",
        f"<{'v' * 200}@near.example>",
        f"<{'u' * 20}@{'.'.join(['l' * 59] * 4)}>",
        "<first..last@x.example>",
        "<.dot@x.example>",
        "<dot.@x.example>",
        '<"a b".c@x.example>',
    ],
)
async def test_an_address_goes_on_as_it_came(open_scene: OpenScene, path: str) -> None:
    scene = await open_scene(ANYBODY)
    peer = await scene.peer()
    await peer.say(HELLO)
    assert (await peer.say(f"MAIL FROM:{path}")).startswith("250 ")
    assert (await peer.say(f"RCPT TO:{path}")).startswith("250 ")
    assert (await peer.message()).startswith("250 ")
    [record] = scene.records
    assert command.mail(record.reverse_path) == f"MAIL FROM:{path}\r\n".encode()
    assert command.rcpt(record.recipients[0].mailbox) == f"RCPT TO:{path}\r\n".encode()


async def test_on_submission_ports_a_path_needs_no_brackets(scene: Scene) -> None:
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.say(HELLO)
    assert (await peer.say("MAIL FROM:me@near.example SIZE=10")).startswith("250 ")
    assert (await peer.say('RCPT TO: "two words"@far.example')).startswith("250 ")
    assert (await peer.message()).startswith("250 ")
    [record] = scene.records
    assert str(record.reverse_path) == "me@near.example"
    assert str(record.recipients[0].mailbox) == '"two words"@far.example'


@pytest.mark.parametrize("path", ["", "me@near.example>", "<me@near.example", "me me@x.example"])
async def test_half_a_path_is_none_on_any_port(scene: Scene, path: str) -> None:
    for kind in (ListenerKind.RELAY, ListenerKind.SUBMISSION):
        peer = await scene.peer(kind)
        await peer.say(HELLO)
        assert (await peer.say(f"MAIL FROM:{path}")).startswith("501 5.5.4 ")


async def test_elsewhere_a_path_has_its_brackets(peer: SmtpPeer) -> None:
    await peer.say(HELLO)
    assert (await peer.say("MAIL FROM:me@near.example")).startswith("501 5.5.4 ")
    await peer.say("MAIL FROM:<me@near.example>")
    assert (await peer.say("RCPT TO:you@far.example")).startswith("501 5.5.4 ")


@pytest.mark.parametrize("kind", [ListenerKind.RELAY, ListenerKind.SUBMISSION])
async def test_a_client_s_sender_without_a_domain_is_of_this_host(
    open_scene: OpenScene, kind: ListenerKind
) -> None:
    scene = await open_scene(MANIFESTS.replace('"*@near.example"', '"root@relay.test"'))
    peer = await scene.peer(kind)
    assert (await peer.envelope("root", "you@far.example"))[1].startswith("250 ")
    await peer.message()
    assert str(scene.records[0].reverse_path) == "root@relay.test"


async def test_the_completed_sender_has_to_be_allowed(open_scene: OpenScene) -> None:
    scene = await open_scene()  # the Client sends as *@near.example only
    submitting = await scene.peer(ListenerKind.SUBMISSION)
    assert (await submitting.envelope("root"))[0].startswith("550 5.7.1 ")
    # On the relay port it is a stranger then, whose sender nobody completes.
    relaying = await scene.peer()
    assert (await relaying.envelope("root"))[0].startswith("553 5.1.7 ")


async def test_a_stranger_s_sender_has_a_domain(open_scene: OpenScene) -> None:
    scene = await open_scene(MANIFESTS.replace("127.0.0.1/32", "192.0.2.0/24"))
    peer = await scene.peer()
    assert (await peer.envelope("root"))[0].startswith("553 5.1.7 ")


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("u@127.0.0.1", "553 5.1.3 "),
        ("u@0x7f000001", "553 5.1.3 "),
        ("u@far.1", "553 5.1.3 "),
        ("u@localhost", "550 5.1.2 "),
        ("u@me.localhost.", "550 5.1.2 "),
        ("u@[127.0.0.1]", "250 "),
        ("u@here1.example", "250 "),
    ],
)
async def test_a_domain_that_means_a_machine_is_no_mail_domain(
    peer: SmtpPeer, address: str, reply: str
) -> None:
    assert (await peer.envelope("me@near.example", address))[1].startswith(reply)


async def test_a_route_may_be_for_localhost(open_scene: OpenScene) -> None:
    hosts = "smarthosts: [{host: in.near.example}], tls: {mode: Opportunistic}"
    scene = await open_scene(MANIFESTS.replace("mx: {}", hosts))
    peer = await scene.peer()
    assert (await peer.envelope("me@near.example", "u@localhost"))[1].startswith("250 ")


@pytest.mark.parametrize(
    ("octets", "written"),
    [
        (b"b\xfcro-pc", b"from b-ro-pc ("),
        ("мой-пк".encode("cp1251"), b"from unknown ("),
        ("büro.example".encode(), b"from xn--bro-hoa.example ("),
        (b'"pc;<x,', b"from pc-x ("),
        (b"\x1b[2J", b"from x1b-2J ("),
        (b"h" * 400, b"from " + b"h" * 255),
        (b"\xc2\xa0x", b"from x ("),
    ],
)
async def test_a_client_may_call_itself_anything(
    scene: Scene, peer: SmtpPeer, octets: bytes, written: bytes
) -> None:
    assert (await peer.send(b"EHLO " + octets + b"\r\n")).startswith("250-")
    await peer.say("MAIL FROM:<me@near.example>")
    await peer.say("RCPT TO:<you@far.example>")
    assert (await peer.message()).startswith("250 ")
    [record] = scene.records
    assert record.trace.isascii()
    assert written in record.trace
    assert record.origin.helo.isprintable()


async def test_what_decides_is_utf_8_or_refused(peer: SmtpPeer) -> None:
    await peer.say(HELLO)
    assert (await peer.send(b"MAIL FROM:<m\xe9@near.example>\r\n")).startswith("501 ")
    assert (await peer.send(b"NOOP \xe9\r\n")).startswith("250 ")
    assert (await peer.send(b"EHLO \xc2\xa0\r\n")).startswith("501 ")
