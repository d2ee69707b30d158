"""The header of submitted mail, and the border between the relay's own fields and the rest."""

import base64
import email
from email.message import Message

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.testing.processes.ingress import OpenScene, Scene

DATE = b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <o@x.example>\r\n"
LONG = b"X-L: " + b"\r\n ".join([b"x" * 70] * 1000) + b"\r\n"


async def sent(
    scene: Scene, content: bytes, kind: ListenerKind = ListenerKind.SUBMISSION
) -> Message:
    """Send content and return the message as the next hop gets it."""
    peer = await scene.peer(kind)
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(content)).startswith("250 ")
    record = scene.records[-1]
    whole = b"".join([chunk async for chunk in scene.spool.read_body(record)])
    return email.message_from_bytes(whole)


@pytest.mark.parametrize("inline_size", [128 * 1024, 1024])
@pytest.mark.parametrize(
    "header",
    [
        LONG + DATE + MESSAGE_ID,
        LONG * 4 + DATE + MESSAGE_ID,
        b"Subject: hi\r\n",
    ],
)
async def test_the_next_hop_gets_one_date_and_one_message_id(
    open_scene: OpenScene, header: bytes, inline_size: int
) -> None:
    scene = await open_scene(inline_size=inline_size)
    message = await sent(scene, header + b"\r\nbody\r\n")
    assert len(message.get_all("Date", [])) == 1
    assert len(message.get_all("Message-ID", [])) == 1


async def test_a_field_with_blanks_before_its_colon_is_not_added_again(scene: Scene) -> None:
    await sent(scene, b"Date : Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID :<a@x>\r\n\r\nb\r\n")
    assert b"Date:" not in scene.records[0].trace
    assert b"Message-ID:" not in scene.records[0].trace


async def test_loops_with_blanks_before_the_colon_are_seen(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(b"Received : x\r\n" * 60 + b"\r\n")).startswith("554 5.4.6 ")


@pytest.mark.parametrize("kind", [ListenerKind.RELAY, ListenerKind.SUBMISSION])
@pytest.mark.parametrize(
    ("content", "payload"),
    [
        (b"body\r\nDate: x\r\n", "body\r\nDate: x\r\n"),
        (b" folded into our last field\r\n", " folded into our last field\r\n"),
        (b"\tby evil.example\r\n\r\nb\r\n", "\tby evil.example\r\n\r\nb\r\n"),
        (b"From me Mon Jan  1 00:00:00 2024\r\nno field\r\n\r\nb\r\n", "From me"),
        (b"\r\nbody\r\n", "body\r\n"),
        (b"", ""),
    ],
)
async def test_content_that_is_no_header_stands_apart_from_our_fields(
    scene: Scene, kind: ListenerKind, content: bytes, payload: str
) -> None:
    message = await sent(scene, content, kind)
    assert set(message.keys()) <= {"Received", "Date", "Message-ID"}
    assert len(message.keys()) == len(set(message.keys()))
    assert "evil" not in str(message["Received"])
    assert str(message.get_payload()).startswith(payload)


@pytest.mark.parametrize("inline_size", [128 * 1024, 1024])
async def test_hidden_recipients_are_hidden(open_scene: OpenScene, inline_size: int) -> None:
    scene = await open_scene(inline_size=inline_size)
    hidden = b"Bcc: secret@x.example,\r\n\tother@x.example\r\n"
    message = await sent(scene, b"To: a@x.example\r\n" + hidden + LONG + hidden + b"\r\nBcc: b\r\n")
    assert message["Bcc"] is None
    assert message["To"] == "a@x.example"
    assert message.get_payload() == "Bcc: b\r\n"
    relayed = await sent(scene, hidden + b"\r\nb\r\n", ListenerKind.RELAY)
    assert "secret@x.example" in relayed["Bcc"]


@pytest.mark.parametrize("inline_size", [128 * 1024, 1024])
@pytest.mark.parametrize(
    ("mark", "field"),
    [(b"\xef\xbb\xbf", None), (b"From me Mon Jan  1 00:00:00 2024\r\n", "From me")],
    ids=["byte order mark", "mailbox"],
)
async def test_hidden_recipients_are_hidden_behind_the_marks_of_a_file(
    open_scene: OpenScene, inline_size: int, mark: bytes, field: str | None
) -> None:
    scene = await open_scene(inline_size=inline_size)
    content = mark + b"Subject: s\r\nBcc: secret@x.example\r\n" + LONG + b"\r\nb\r\n"
    message = await sent(scene, content)
    assert (message["Subject"], message["Bcc"], message.get_payload()) == ("s", None, "b\r\n")
    assert str(message["X-Mailbox-Line"] or "").startswith(field or "")
    relayed = await sent(scene, content, ListenerKind.RELAY)
    assert "secret@x.example" in str(relayed.get_payload())


async def test_mail_behind_a_login_is_submitted_on_whatever_port(open_scene: OpenScene) -> None:
    scene = await open_scene(insecure_auth=True)
    peer = await scene.peer(ListenerKind.RELAY)
    await peer.say("EHLO client.example")
    login = base64.b64encode(b"\0shop\0correct horse").decode()
    assert (await peer.say(f"AUTH PLAIN {login}")).startswith("235 ")
    await peer.envelope("news@shop.example", "you@far.example")
    assert (await peer.message(b"Bcc: secret@x.example\n\nb\r\n")).startswith("250 ")
    [record] = scene.records
    assert b"\r\nDate: " in record.trace
    assert await scene.body() == b"\r\nb\r\n"


async def test_a_large_message_of_nothing_but_hidden_recipients(open_scene: OpenScene) -> None:
    scene = await open_scene(inline_size=1024)
    message = await sent(scene, b"Bcc: " + b"x" * 5000 + b"\r\n")
    assert message["Bcc"] is None
    assert message["Message-ID"]
