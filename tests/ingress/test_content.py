"""The end of a message and of a line is CRLF alone, whatever is tried (SMTP smuggling)."""

import asyncio
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroad.acceptance.admission import ListenerKind
from postroad.smtp.server.content import ContentReader, LineEnds
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.ingress import OpenScene, Scene
from postroad.testing.queue.queued_mail import first, take

# What an attacker hides behind a line end that another server might take for one.
SECOND = b"MAIL FROM:<evil@near.example>\r\nRCPT TO:<you@far.example>\r\nDATA\r\nevil\r\n.\r\n"


@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n\x00.\r\n",
        b"\n\n.\r\n",
        b"\r\r\n.\r\r\n",
    ],
)
async def test_nothing_but_crlf_dot_crlf_ends_a_message(
    scene: Scene, peer: SmtpPeer, end: bytes
) -> None:
    await peer.envelope("me@near.example", "you@far.example")
    await peer.say("DATA")
    reply = await peer.send(b"first\r\n" + end + SECOND)
    if end == b"\r\n\x00.\r\n":  # a NUL is an octet as any other
        assert reply.startswith("250 ")
        assert (await scene.body()).endswith(b"evil\r\n")
    else:
        assert reply.startswith("554 5.6.0 ")  # one reply, for one message with a bare CR or LF
        assert scene.records == []
    assert (await peer.say("NOOP")) == "250 2.0.0 ok"


@pytest.mark.parametrize(
    ("line_ends", "kind", "taken"),
    [
        (LineEnds.SUBMITTED, ListenerKind.SUBMISSION, True),
        (LineEnds.SUBMITTED, ListenerKind.RELAY, False),
        (LineEnds.ALL, ListenerKind.RELAY, True),
        (LineEnds.NONE, ListenerKind.SUBMISSION, False),
    ],
)
async def test_bare_line_ends_are_repaired_in_submitted_mail(
    open_scene: OpenScene, line_ends: LineEnds, kind: ListenerKind, taken: bool
) -> None:
    scene = await open_scene(line_ends=line_ends)
    peer = await scene.peer(kind)
    await peer.envelope("me@near.example", "you@far.example")
    reply = await peer.message(b"A: b\n\nb\rc\r\n.\n..d\n.\r\ne\r\n")
    if taken:
        assert reply.startswith("250 ")
        assert await scene.body() == b"A: b\r\n\r\nb\r\nc\r\n\r\n.d\r\n\r\ne\r\n"
    else:
        assert reply.startswith("554 5.6.0 ")
        assert scene.records == []


@given(text=st.text(alphabet="\r\n.a", max_size=60), cuts=st.lists(st.integers(0, 60), max_size=9))
def test_every_line_is_unstuffed_whatever_ends_it(text: str, cuts: list[int]) -> None:
    wire = text.encode() + b"\r\n.\r\n"
    content = wire[: (b"\r\n" + wire).index(b"\r\n.\r\n")]
    lines = re.split(rb"\r\n|\r|\n", content)
    kept, _ = read(wire, cuts, ContentReader(normalise=True))
    assert kept == b"\r\n".join(line.removeprefix(b".") for line in lines)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 70_000), end=st.sampled_from([b"\n", b"\r"]))
@example(cut=94 * 700, end=b"\n")  # each part ends with a line
def test_a_long_text_without_crlf_is_repaired_in_parts(cut: int, end: bytes) -> None:
    wire = (b"..y" + b"z" * 90 + end) * 2500
    kept, _ = read(
        wire + b"\r\n.\r\n", list(range(cut, len(wire), cut)), ContentReader(normalise=True)
    )
    # CR before the last CRLF is a line end, LF CR LF too.
    assert kept == wire.replace(b"..", b".").replace(end, b"\r\n") + b"\r\n"


@pytest.mark.parametrize("line", [b"NOOP\nNOOP\r\n", b"NOOP\rNOOP\r\n", b"NOOP\n"])
async def test_a_bare_line_end_in_a_command_ends_the_session(peer: SmtpPeer, line: bytes) -> None:
    assert (await peer.send(line)).startswith("554 5.5.2 ")
    assert await peer.reply() == ""


lines = st.lists(
    st.binary(max_size=12).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"")),
    max_size=12,
)
dotted = st.lists(st.sampled_from([b".", b"..", b"...", b"", b".a", b"a."]), max_size=8)
cuts = st.lists(st.integers(0, 400), max_size=12)


@given(content=st.one_of(lines, dotted), cuts=cuts)
def test_what_is_kept_is_what_was_sent_however_it_was_cut(
    content: list[bytes], cuts: list[int]
) -> None:
    original = b"".join(line + b"\r\n" for line in content)
    wire = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in content)
    kept, rest = read(wire + b".\r\nNEXT", cuts)
    assert kept == original
    assert rest == b"NEXT"


@given(content=st.binary(max_size=200), cuts=cuts)
def test_no_octets_at_all_end_a_message_early(content: bytes, cuts: list[int]) -> None:
    """Whatever comes, the content ends at the first CRLF.CRLF and nowhere else."""
    framed = b"\r\n" + content + b"\r\n.\r\nNEXT"
    end = framed.index(b"\r\n.\r\n")
    _, rest = read(framed[2:], cuts)
    assert rest == framed[end + 5 :]


@given(text=st.text(alphabet="\r\n.a", max_size=60), cuts=cuts)
def test_every_bare_line_end_is_noticed_and_no_other(text: str, cuts: list[int]) -> None:
    wire = text.encode() + b"\r\n.\r\n"
    content = wire[: (b"\r\n" + wire).index(b"\r\n.\r\n")]
    reader = ContentReader()
    read(wire, cuts, reader)
    assert reader.bare == bool(re.search(rb"(?<!\r)\n|\r(?!\n)", content))


def read(wire: bytes, cuts: list[int], reader: ContentReader | None = None) -> tuple[bytes, bytes]:
    """Feed octets in blocks cut at these places; return the content and what is left."""
    places = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    reader, buffer, kept, begin = reader or ContentReader(), bytearray(), b"", 0
    for place in places:
        buffer += wire[begin:place]
        begin = place
        while not reader.done and (piece := reader.take(buffer)):
            kept += piece
    assert reader.done
    return kept, bytes(buffer)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(60_000, 200_000), cut=st.integers(1, 70_000))
def test_a_line_without_an_end_passes_in_parts(length: int, cut: int) -> None:
    content = b".x" + b"y" * length + b"\r\n"
    kept, rest = read(b"." + content + b".\r\n", list(range(cut, length, cut)))
    assert kept == content
    assert rest == b""


async def test_a_message_over_the_limit_is_refused_and_not_kept(open_scene: OpenScene) -> None:
    scene = await open_scene(message_size=100_000)
    peer = await scene.peer()
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(b"x" * 98 + b"\r\n" + b"y" * 99_900 + b"\r\n")).startswith(
        "552 5.3.4 "
    )
    assert scene.records == []
    assert scene.spool.store.bodies == {}
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(b"x" * 99_998 + b"\r\n")).startswith("250 ")


async def test_a_large_message_goes_into_the_blob_store_whole(scene: Scene, peer: SmtpPeer) -> None:
    content = b"Subject: large\r\n\r\n" + b"".join(b"%070d\r\n" % n for n in range(20_000))
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message(content)).startswith("250 ")
    [record] = scene.records
    assert not isinstance(record.content, bytes)
    assert record.header == b"Subject: large\r\n"
    assert await scene.body() == content


async def test_mail_to_many_domains_shares_one_body_until_the_last_has_it(
    scene: Scene, peer: SmtpPeer
) -> None:
    recipients = [f"{name}@d{n}.example" for n in range(12) for name in ("you", "they")]
    await peer.envelope("me@near.example", *recipients)
    assert (await peer.message()).startswith("250 ")
    assert len(scene.records) == 12
    assert len(scene.spool.store.bodies) == 1
    assert {await scene.body(number) for number in range(12)} == {b"Subject: hi\r\n\r\nhello\r\n"}
    taking = take(scene.spool)
    for taken in await first(taking, 12):
        assert len(scene.spool.store.bodies) == 1
        await taking.settle(taken)
    assert scene.spool.store.bodies == {}
    await taking.close()


async def test_a_message_cut_off_is_not_kept(scene: Scene) -> None:
    for content in (b"half\r\n", b"half", b"x" * 300_000):
        peer = await scene.peer()
        await peer.envelope("me@near.example", "you@far.example")
        await peer.say("DATA")
        assert await peer.all_replies(content) == []
    async with asyncio.timeout(patient(5)):
        while len(scene.server.connections) or scene.spool.store.bodies:
            await asyncio.sleep(0.01)
    assert scene.records == []


async def test_a_message_that_went_in_circles_is_refused(open_scene: OpenScene) -> None:
    scene = await open_scene(received_fields=30)
    peer = await scene.peer()
    for hops, code in ((30, "250 "), (31, "554 5.4.6 ")):
        await peer.envelope("me@near.example", "you@far.example")
        content = b"Received: from a by b;\r\n\tTue, 1 Jan 2030 00:00:00 +0000\r\n" * hops
        assert (await peer.message(content + b"\r\nReceived: not a field\r\n")).startswith(code)
