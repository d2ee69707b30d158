"""Opening a session: greeting, EHLO, TLS with and without fallback."""

import ssl
from pathlib import Path

import pytest

from postroad.policy.model import TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.network import NetworkError
from postroad.smtp_client.opening import open_session as open_to
from postroad.smtp_client.peer import (
    Peer,
    SessionError,
    SessionLost,
    SessionRefused,
    TlsUnavailable,
)
from postroad.testing.peers.certificates import vouched_for
from postroad.testing.peers.mx import HANG_UP, SILENCE, Script, ScriptedMx
from postroad_harness.setups.opening import LOGIN, TIMEOUTS, open_session, saying


@pytest.mark.parametrize(
    ("greeting", "script", "phase"),
    [
        (b"554 5.7.1 not you\r\n", saying(b"X", b""), Phase.GREETING),
        (b"421 4.3.2 too many\r\n", saying(b"X", b""), Phase.GREETING),
        (b"220 ok\r\n", saying(b"EHLO", b"421 4.3.2 later\r\n"), Phase.EHLO),
        (b"220 ok\r\n", saying(b"EHLO", b"451 4.3.0 later\r\n"), Phase.EHLO),
        (b"220 ok\r\n", lambda line, count: b"550 5.7.1 no\r\n", Phase.HELO),
    ],
)
async def test_a_server_that_does_not_want_us(
    greeting: bytes, script: Script, phase: Phase
) -> None:
    async with ScriptedMx(script, greeting=greeting) as mx:
        with pytest.raises(SessionRefused) as refused:
            await open_session(mx)
        assert refused.value.phase is phase
        assert mx.connections == 1


async def test_a_server_that_hangs_up_at_ehlo_is_not_asked_with_helo() -> None:
    async with ScriptedMx(saying(b"EHLO", HANG_UP)) as mx:
        with pytest.raises(SessionLost):
            await open_session(mx)
        assert [line.split()[0] for line in mx.commands] == [b"EHLO"]


async def test_a_server_that_is_not_there() -> None:
    async with ScriptedMx() as mx:
        peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test")
    with pytest.raises(NetworkError, match=r"(?i)refused|connect"):
        await open_to(peer, TIMEOUTS)


async def test_a_server_that_speaks_something_else() -> None:
    async with ScriptedMx(greeting=b"SSH-2.0-OpenSSH_9.6\r\n") as mx:
        with pytest.raises(SessionLost, match="not an SMTP reply"):
            await open_session(mx)


@pytest.mark.parametrize("tls", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED])
async def test_tls_that_is_offered_is_used(mx_tls: ssl.SSLContext, tls: TlsMode) -> None:
    async with ScriptedMx(tls=mx_tls) as mx:
        assert (await open_session(mx, tls=tls)).tls


async def test_tls_is_left_alone_when_it_is_not_wanted(mx_tls: ssl.SSLContext) -> None:
    async with ScriptedMx(tls=mx_tls) as mx:
        assert not (await open_session(mx, tls=TlsMode.NONE)).tls
        assert b"STARTTLS" not in mx.commands


BROKEN_TLS = [
    b"454 4.7.0 no TLS now\r\n",
    HANG_UP,
    b"nonsense\r\n",
    b"220 go on\r\n250 in clear\r\n",
    b"220 go on\r\nhalf a line",
]


@pytest.mark.parametrize("reply", BROKEN_TLS)
async def test_opportunistic_tls_that_fails_is_done_without(
    mx_tls: ssl.SSLContext, reply: bytes
) -> None:
    async with ScriptedMx(saying(b"STARTTLS", reply), tls=mx_tls) as mx:
        session = await open_session(mx)
        assert not session.tls
        assert session.reusable
        assert mx.connections == 2, "the second one is without TLS"


async def test_a_handshake_that_fails_is_done_without() -> None:
    useless = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate
    async with ScriptedMx(tls=useless) as mx:
        session = await open_session(mx)
        assert not session.tls
        assert mx.connections == 2


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_that_fails_behind_its_handshake_is_done_without(
    wanting_certificates: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    """In TLS 1.3 a client learns at its next read that its certificate was missed."""
    wanting_certificates.maximum_version = version
    async with ScriptedMx(tls=wanting_certificates) as mx:
        session = await open_session(mx)
        assert not session.tls
        assert "EHLO" in session.tls_failed or "handshake" in session.tls_failed
        assert mx.connections == 2


@pytest.mark.parametrize("tls", [TlsMode.REQUIRED, TlsMode.OPPORTUNISTIC])
async def test_tls_that_fails_behind_its_handshake_is_needed_for_a_login_and_where_required(
    wanting_certificates: ssl.SSLContext, tls: TlsMode
) -> None:
    login = LOGIN if tls is TlsMode.OPPORTUNISTIC else None
    async with ScriptedMx(tls=wanting_certificates, extensions=("AUTH PLAIN",)) as mx:
        with pytest.raises(SessionError):
            await open_session(mx, tls=tls, credentials=login)
        assert mx.connections == 1


@pytest.mark.parametrize("reply", [HANG_UP, b"\x16\x03\x01\r\n", SILENCE])
async def test_a_peer_that_loses_its_tongue_under_tls_is_spoken_to_in_clear(
    mx_tls: ssl.SSLContext, reply: bytes
) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return reply if line.startswith(b"EHLO") and count == 1 else None

    async with ScriptedMx(script, tls=mx_tls) as mx:
        session = await open_session(mx)
        assert not session.tls
        assert mx.connections == 2


@pytest.mark.parametrize("reply", BROKEN_TLS)
async def test_required_tls_never_falls_back(mx_tls: ssl.SSLContext, reply: bytes) -> None:
    async with ScriptedMx(saying(b"STARTTLS", reply), tls=mx_tls) as mx:
        with pytest.raises(TlsUnavailable):
            await open_session(mx, tls=TlsMode.REQUIRED)
        assert mx.connections == 1


@pytest.mark.parametrize("tls", [TlsMode.REQUIRED, TlsMode.VERIFIED])
async def test_required_tls_that_is_not_offered(tls: TlsMode) -> None:
    async with ScriptedMx() as mx:
        with pytest.raises(TlsUnavailable, match="does not offer TLS"):
            await open_session(mx, tls=tls)


async def test_a_certificate_that_nobody_vouches_for_is_not_verified(
    mx_tls: ssl.SSLContext,
) -> None:
    async with ScriptedMx(tls=mx_tls) as mx:
        with pytest.raises(TlsUnavailable, match="self-signed"):
            await open_session(mx, tls=TlsMode.VERIFIED)
        assert mx.connections == 1


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("mx.test", "mx.test"),
        ("MX.Test.", "mx.test"),
        ("bücher.test", "xn--bcher-kva.test"),
        ("127.0.0.1", None),
        ("[127.0.0.1]", None),
        ("[IPv6:::1]", None),
        ("::1", None),
        ("0x7f000001", None),
        ("my_host.test", None),
        (r"mx\032a.test", None),
        ("a..b.test", None),
        ("l" * 64 + ".test", None),
    ],
)
async def test_the_handshake_names_a_host_by_its_dns_name_or_not_at_all(
    tmp_path: Path, host: str, said: str | None
) -> None:
    heard: list[str | None] = []
    tls = vouched_for(tmp_path, "mx.test").context
    tls.sni_callback = lambda _, name, __: heard.append(name)
    async with ScriptedMx(tls=tls) as mx:
        assert (await open_session(mx, host=host)).tls
    assert heard == [said]


async def test_a_certificate_is_never_checked_for_what_is_no_name(
    mx_tls: ssl.SSLContext,
) -> None:
    async with ScriptedMx(tls=mx_tls) as mx:
        with pytest.raises(TlsUnavailable, match="no certificate is for such a name"):
            await open_session(mx, tls=TlsMode.VERIFIED, host="a..b.test")
