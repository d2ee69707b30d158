"""Checking a password, and the TLS that it needs."""

import asyncio
import base64
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from postroad.acceptance.admission import ListenerKind
from postroad.ingress.listen.certificate import self_signed
from postroad.ingress.session.session import SmtpSession
from postroad.mail.traffic import TrafficClass
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

HELLO = "EHLO client.example"
STRANGERS = MANIFESTS.replace("127.0.0.1/32", "192.0.2.0/24")


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


GOOD = b64("\0shop\0correct horse")


@pytest.fixture
async def scene(open_scene: OpenScene) -> Scene:
    return await open_scene(STRANGERS)


@pytest.fixture
async def secure(scene: Scene) -> SmtpPeer:
    """A session on the port with TLS from the first byte, past EHLO."""
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    await peer.say(HELLO)
    return peer


@pytest.mark.parametrize(
    "lines",
    [
        [f"AUTH PLAIN {GOOD}"],
        ["AUTH PLAIN", GOOD],
        [f"auth plain {b64(chr(0).join(['shop', 'shop', 'correct horse']))}"],
        ["AUTH LOGIN", b64("shop"), b64("correct horse")],
        [f"AUTH LOGIN {b64('shop')}", b64("correct horse")],
    ],
)
async def test_a_password_opens_the_way_out(
    scene: Scene, secure: SmtpPeer, lines: list[str]
) -> None:
    *challenged, last = [await secure.say(line) for line in lines]
    assert all(reply.startswith("334 ") for reply in challenged)
    assert last.startswith("235 2.7.0 ")
    assert "AUTH" not in await secure.say(HELLO)
    replies = await secure.envelope("news@shop.example", "you@far.example")
    assert replies[1].startswith("250 ")
    await secure.message()
    [record] = scene.records
    assert record.origin.client == "default/shop"
    assert record.traffic_class is TrafficClass.BULK
    assert b"with ESMTPSA" in record.trace


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([f"AUTH PLAIN {b64(chr(0) + 'shop' + chr(0) + 'wrong')}"], "535 5.7.8 "),
        ([f"AUTH PLAIN {b64(chr(0) + 'nobody' + chr(0) + 'correct horse')}"], "535 5.7.8 "),
        ([f"AUTH PLAIN {b64('boss' + chr(0) + 'shop' + chr(0) + 'correct horse')}"], "501 5.5.2 "),
        (["AUTH PLAIN", "*"], "501 5.7.0 "),
        (["AUTH LOGIN", "*"], "501 5.7.0 "),
        (["AUTH LOGIN", b64("shop"), "*"], "501 5.7.0 "),
        (["AUTH PLAIN not-base64"], "501 5.5.2 "),
        (["AUTH PLAIN ="], "501 5.5.2 "),
        (["AUTH PLAIN", f"{GOOD} "], "501 5.5.2 "),
        (["AUTH PLAIN", GOOD.rstrip("=")], "501 5.5.2 "),
        (["AUTH PLAIN", "größe"], "501 5.5.2 "),
        (["AUTH CRAM-MD5"], "504 5.5.4 "),
        (["AUTH"], "504 5.5.4 "),
    ],
)
async def test_what_proves_nothing_opens_nothing(
    secure: SmtpPeer, lines: list[str], code: str
) -> None:
    assert [await secure.say(line) for line in lines][-1].startswith(code)
    assert (await secure.say("MAIL FROM:<news@shop.example>")).startswith("530 5.7.0 ")


async def test_the_third_failed_login_ends_the_session(secure: SmtpPeer) -> None:
    wrong = f"AUTH PLAIN {b64(chr(0) + 'shop' + chr(0) + 'wrong')}"
    for _ in range(3):
        assert (await secure.say(wrong)).startswith("535 5.7.8 ")
    assert (await secure.reply()).startswith("421 4.7.0 ")
    assert await secure.reply() == ""


async def test_a_client_may_send_as_its_senders_only(secure: SmtpPeer) -> None:
    await secure.say(f"AUTH PLAIN {GOOD}")
    assert (await secure.say("MAIL FROM:<boss@other.example>")).startswith("550 5.7.1 ")


AGAIN = b64("\0shop\0battery staple")


@pytest.mark.parametrize("command", ["MAIL FROM:<news@shop.example>", f"AUTH PLAIN {AGAIN}"])
async def test_a_session_whose_password_was_changed_ends_so_that_its_client_logs_in_anew(
    scene: Scene, secure: SmtpPeer, tmp_path: Path, command: str
) -> None:
    """RFC 4954 §4 allows no second AUTH, and after a 5yz a client would give its mail up."""
    await secure.say(f"AUTH PLAIN {GOOD}")
    await scene.configure(STRANGERS.replace("correct horse", "battery staple"), tmp_path)
    assert (await secure.say("NOOP")).startswith("250 ")
    said = "421 4.7.0 your login has changed, log in on a new connection"
    assert await secure.say(command) == said
    assert await secure.reply() == ""
    fresh = await scene.peer(ListenerKind.SUBMISSIONS)
    await fresh.say(HELLO)
    assert (await fresh.say(f"AUTH PLAIN {GOOD}")).startswith("535 ")
    assert (await fresh.say(f"AUTH PLAIN {AGAIN}")).startswith("235 ")
    assert (await fresh.say("MAIL FROM:<news@shop.example>")).startswith("250 ")


@pytest.mark.parametrize(
    "edit",
    [
        ("username: shop", "username: till"),
        ("auth: {secretRef: {name: shop}}", "networks: [127.0.0.1/32]"),
    ],
)
async def test_a_login_is_withdrawn_with_its_name_too(
    scene: Scene, secure: SmtpPeer, tmp_path: Path, edit: tuple[str, str]
) -> None:
    await secure.say(f"AUTH PLAIN {GOOD}")
    await scene.configure(STRANGERS.replace(*edit), tmp_path)
    assert (await secure.say("MAIL FROM:<news@shop.example>")).startswith("421 4.7.0 ")


async def test_after_a_login_that_is_valid_there_is_no_other(
    scene: Scene, secure: SmtpPeer, tmp_path: Path
) -> None:
    await secure.say(f"AUTH PLAIN {GOOD}")
    await scene.configure(STRANGERS.replace("*@shop.example", "*@store.example"), tmp_path)
    assert (await secure.say(f"AUTH PLAIN {GOOD}")).startswith("503 5.5.1 ")
    assert (await secure.say("MAIL FROM:<news@store.example>")).startswith("250 ")


@pytest.mark.parametrize("kind", [ListenerKind.RELAY, ListenerKind.SUBMISSION])
async def test_in_clear_no_password_is_taken(scene: Scene, kind: ListenerKind) -> None:
    peer = await scene.peer(kind)
    assert "AUTH" not in await peer.say(HELLO)
    assert (await peer.say(f"AUTH PLAIN {GOOD}")).startswith("538 5.7.11 ")


async def test_a_flag_allows_passwords_in_clear_on_loopback(open_scene: OpenScene) -> None:
    scene = await open_scene(STRANGERS, insecure_auth=True)
    peer = await scene.peer(ListenerKind.SUBMISSION)
    assert "AUTH PLAIN LOGIN" in await peer.say(HELLO)
    assert (await peer.say(f"AUTH PLAIN {GOOD}")).startswith("235 ")


async def test_after_starttls_all_begins_anew(scene: Scene) -> None:
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.say(HELLO)
    assert (await peer.say("STARTTLS now")).startswith("501 5.5.4 ")
    assert (await peer.say("STARTTLS")).startswith("220 2.0.0 ")
    await peer.start_tls(client_context())
    assert (await peer.say("MAIL FROM:<news@shop.example>")).startswith("503 5.5.1 ")
    said = await peer.say(HELLO)
    assert "STARTTLS" not in said
    assert "AUTH PLAIN LOGIN" in said
    assert (await peer.say("STARTTLS")).startswith("503 5.5.1 ")
    assert (await peer.say(f"AUTH PLAIN {GOOD}")).startswith("235 ")


async def test_what_was_said_in_clear_behind_starttls_is_thrown_away(scene: Scene) -> None:
    """CVE-2011-0411: a man in the middle puts commands before the handshake."""
    peer = await scene.peer()
    await peer.say(HELLO)
    reply = await peer.send(b"STARTTLS\r\nMAIL FROM:<evil@near.example>\r\nRSET\r\n")
    assert reply.startswith("220 ")
    await peer.start_tls(client_context())
    assert (await peer.say(HELLO)).startswith("250-")  # and no reply to what was injected
    assert (await peer.say("RCPT TO:<known@here.example>")).startswith("503 5.5.1 ")


async def test_what_comes_in_clear_while_the_client_does_not_read_is_thrown_away(
    scene: Scene,
) -> None:
    """The same, where the reply to STARTTLS has to wait for those of before to be read."""
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.say(HELLO)
    (place,) = scene.server.connections
    session = place.holder
    assert isinstance(session, SmtpSession)
    session.pause_writing()
    assert (await peer.say("STARTTLS")).startswith("220 ")
    peer.writer.write(b"MAIL FROM:<evil@near.example>\r\nRSET\r\n")
    async with asyncio.timeout(patient(5)):
        while not session.conversation.input:
            await asyncio.sleep(0)
    session.resume_writing()
    await peer.start_tls(client_context())
    assert (await peer.say(HELLO)).startswith("250-")
    assert (await peer.say("NOOP")).startswith("250 2.0.0 ")


async def test_a_handshake_that_fails_ends_the_session(scene: Scene) -> None:
    peer = await scene.peer()
    await peer.say(HELLO)
    await peer.say("STARTTLS")
    assert await peer.all_replies(b"this is no handshake at all\r\n" * 10) in ([], [""])
    assert (await (await scene.peer()).say("NOOP")).startswith("250 ")


async def test_a_changed_certificate_is_shown_to_the_next(
    open_scene: OpenScene, tmp_path: Path
) -> None:
    folder, other = tmp_path / "tls", tmp_path / "other"
    scene = await open_scene(STRANGERS, tls=folder)
    running = await scene.peer(ListenerKind.SUBMISSIONS)
    first = await serial(scene)
    self_signed(other, "relay.test")
    for name in ("key.pem", "cert.pem"):
        (other / name).replace(folder / name)
    assert scene.certificate.look()
    assert await serial(scene) != first
    assert (await running.say("NOOP")).startswith("250 ")  # who is connected goes on


async def test_half_a_certificate_changes_nothing(open_scene: OpenScene, tmp_path: Path) -> None:
    folder, other = tmp_path / "tls", tmp_path / "other"
    scene = await open_scene(STRANGERS, tls=folder)
    first = await serial(scene)
    self_signed(other, "relay.test")
    (other / "cert.pem").replace(folder / "cert.pem")  # and the key is still the old one
    assert not scene.certificate.look()
    assert await serial(scene) == first


def test_the_self_signed_pair_is_two_files_and_the_key_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    self_signed(folder, "relay.test")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    assert b"PRIVATE" not in certificate.read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    first = certificate.read_bytes()
    self_signed(folder, "relay.test")
    assert certificate.read_bytes() == first


async def serial(scene: Scene) -> int:
    peer = await scene.peer(ListenerKind.SUBMISSIONS)
    shown = peer.writer.get_extra_info("ssl_object")
    assert isinstance(shown, ssl.SSLObject)
    octets = shown.getpeercert(binary_form=True)
    assert octets is not None
    return x509.load_der_x509_certificate(octets).serial_number
