"""A renewed certificate: shown to every client from then on, and reported only then."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from postroad.acceptance.admission import ListenerKind
from postroad.ingress.listen import certificate as tls
from postroad.ingress.listen.certificate import Certificate
from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.smtp_peer import client_context
from postroad.testing.processes.ingress import OpenScene

IN_USE = "a changed certificate is in use"
NOT_USED = "a changed certificate cannot be used, the old one stays"


@pytest.fixture(scope="module")
def pairs() -> dict[str, tuple[str, str]]:
    return {
        "old-rsa": tls_pair("relay.test", "old-rsa", rsa_key=True),
        "old-ec": tls_pair("relay.test", "old-ec"),
        "new-rsa": tls_pair("relay.test", "new-rsa", rsa_key=True),
        "new-ec": tls_pair("relay.test", "new-ec"),
    }


def write(folder: Path, pair: tuple[str, str]) -> None:
    (folder / "cert.pem").write_text(pair[0])
    (folder / "key.pem").write_text(pair[1])


def load(folder: Path, pair: tuple[str, str]) -> Certificate:
    write(folder, pair)
    return Certificate(folder / "cert.pem", folder / "key.pem")


class Handshake:
    """A client and the server's context, joined in memory."""

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        *,
        name: str | None = "relay.test",
        session: ssl.SSLSession | None = None,
    ) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._server = server.wrap_bio(to_server, to_client, server_side=True)
        self._client = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)

    def finish(self) -> "Handshake":
        for _ in range(4):
            for side in (self._client, self._server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self._server.write(b"220 ")  # with TLS 1.3 the ticket comes before it
        assert self._client.read() == b"220 "
        return self

    @property
    def shown(self) -> str:
        octets = self._client.getpeercert(binary_form=True)
        assert octets is not None
        subject = x509.load_der_x509_certificate(octets).subject
        return str(subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)

    @property
    def taken_up(self) -> bool | None:
        return self._client.session_reused

    @property
    def session(self) -> ssl.SSLSession | None:
        return self._client.session


def tls_1_2(ciphers: str) -> Callable[[], ssl.SSLContext]:
    def make() -> ssl.SSLContext:
        context = client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        return context

    return make


# Each can do both types of key, and prefers one of them.
CLIENTS = {
    "TLS 1.3": client_context,
    "TLS 1.2, RSA first": tls_1_2("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"),
    "TLS 1.2, ECDSA first": tls_1_2("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"),
}


@pytest.mark.parametrize("name", ["relay.test", "other.test", None])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("new", ["new-rsa", "new-ec"])
@pytest.mark.parametrize("old", ["old-rsa", "old-ec"])
def test_every_client_is_shown_the_new_certificate(
    tmp_path: Path,
    pairs: dict[str, tuple[str, str]],
    old: str,
    new: str,
    client: str,
    name: str | None,
) -> None:
    certificate = load(tmp_path, pairs[old])
    ours = CLIENTS[client]()
    first = Handshake(certificate.context, ours, name=name).finish()
    begun = Handshake(certificate.context, ours, name=name)  # has said nothing yet
    assert first.shown == old
    write(tmp_path, pairs[new])
    assert certificate.look()
    assert Handshake(certificate.context, ours, name=name).finish().shown == new
    assert begun.finish().shown == new
    # A session of before is not taken up again: its client would go on with the old certificate.
    again = Handshake(certificate.context, ours, name=name, session=first.session).finish()
    assert again.shown == new


def test_sessions_of_the_same_certificate_are_taken_up(
    tmp_path: Path, pairs: dict[str, tuple[str, str]]
) -> None:
    certificate, ours = load(tmp_path, pairs["old-ec"]), client_context()
    first = Handshake(certificate.context, ours).finish()
    second = Handshake(certificate.context, ours, session=first.session).finish()
    assert second.taken_up


async def test_starttls_begun_before_the_change_shows_the_new_one(
    open_scene: OpenScene, tmp_path: Path, pairs: dict[str, tuple[str, str]]
) -> None:
    write(tmp_path, pairs["old-rsa"])
    scene = await open_scene(tls=tmp_path)
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.say("EHLO client.example")
    assert (await peer.say("STARTTLS")).startswith("220 ")
    write(tmp_path, pairs["new-ec"])
    assert scene.certificate.look()
    await peer.start_tls(client_context())
    shown = peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert b"new-ec" in shown


@pytest.mark.parametrize("first", ["cert.pem", "key.pem"])
def test_half_a_change_is_said_to_be_half_and_the_rest_completes_it(
    tmp_path: Path, pairs: dict[str, tuple[str, str]], first: str
) -> None:
    certificate = load(tmp_path, pairs["old-ec"])
    halves = dict(zip(("cert.pem", "key.pem"), pairs["new-ec"], strict=True))
    with capture_logs() as lines:
        (tmp_path / first).write_text(halves.pop(first))
        assert not certificate.look()
        assert not certificate.look()
        assert Handshake(certificate.context, client_context()).finish().shown == "old-ec"
        ((second, text),) = halves.items()
        (tmp_path / second).write_text(text)
        assert certificate.look()
        assert not certificate.look()
    assert [line["event"] for line in lines] == [NOT_USED, IN_USE]
    assert Handshake(certificate.context, client_context()).finish().shown == "new-ec"


def test_a_file_completed_in_the_same_moment_is_read_again(
    tmp_path: Path, pairs: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of files ticks every few milliseconds: a write may end within the same tick."""
    certificate = load(tmp_path, pairs["old-ec"])
    text, key = pairs["new-ec"]
    (tmp_path / "key.pem").write_text(key)
    (tmp_path / "cert.pem").write_text(text[:100])
    monkeypatch.setattr(tls, "_mark", lambda path: (path.stat().st_ino,))
    assert not certificate.look()
    (tmp_path / "cert.pem").write_text(text)
    assert certificate.look()


def test_files_that_go_and_come_back(tmp_path: Path, pairs: dict[str, tuple[str, str]]) -> None:
    certificate = load(tmp_path, pairs["old-ec"])
    (tmp_path / "key.pem").unlink()
    assert not certificate.look()
    assert Handshake(certificate.context, client_context()).finish().shown == "old-ec"
    write(tmp_path, pairs["new-rsa"])
    assert certificate.look()


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    tmp_path: Path, pairs: dict[str, tuple[str, str]]
) -> None:
    certificate = load(tmp_path, pairs["old-ec"])
    text, key = pairs["new-ec"]
    encrypted = serialization.load_pem_private_key(key.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    write(tmp_path, (text, encrypted.decode()))
    with capture_logs() as lines:
        assert not certificate.look()
    assert "without a password" in lines[0]["error"]
