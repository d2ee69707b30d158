"""Opening a session: greeting, EHLO, TLS with and without fallback, login."""

import base64
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.policy.model import Credentials, TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.network import NetworkError
from postroad.smtp_client.opening import open_session as open_to
from postroad.smtp_client.peer import (
    LoginUnavailable,
    Peer,
    SessionError,
    SessionLost,
    SessionRefused,
    Timeouts,
    TlsUnavailable,
)
from postroad.smtp_client.session import Session
from postroad.testing.peers.certificates import Vouched, vouched_for
from postroad.testing.peers.mx import HANG_UP, SILENCE, Script, ScriptedMx

LOGIN = Credentials("user", "pa ss")
TIMEOUTS = Timeouts(command=timedelta(seconds=2), greeting=timedelta(seconds=2))


async def open_session(
    mx: ScriptedMx, *, tls: TlsMode = TlsMode.OPPORTUNISTIC, **more: object
) -> Session:
    peer = Peer("mx.test", "127.0.0.1", mx.port, "relay.test", tls=tls)
    return await open_to(replace(peer, **more), TIMEOUTS)  # type: ignore[arg-type]


def saying(verb: bytes, reply: bytes) -> Script:
    """Return a script that answers each command of a verb with the same reply."""
    return lambda line, count: reply if line.startswith(verb) else None


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


def plain(line: bytes) -> list[bytes]:
    return base64.b64decode(line.split()[2]).split(b"\0")


@pytest.mark.parametrize("tls", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED, TlsMode.VERIFIED])
@pytest.mark.parametrize("words", ["AUTH PLAIN LOGIN", "AUTH LOGIN PLAIN", "AUTH=PLAIN"])
async def test_logging_in_with_plain(vouched: Vouched, words: str, tls: TlsMode) -> None:
    async with ScriptedMx(tls=vouched.context, extensions=(words,)) as mx:
        session = await open_session(mx, tls=tls, credentials=LOGIN, ca_file=vouched.ca_file)
        assert session.tls
        assert plain(mx.commands[-1]) == [b"", b"user", b"pa ss"]


async def test_logging_in_with_login(vouched: Vouched) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        asks = {b"AUTH LOGIN": b"334 VXNlcm5hbWU6\r\n", b"dXNlcg==": b"334 UGFzc3dvcmQ6\r\n"}
        return asks.get(line, b"235 2.7.0 ok\r\n" if line == b"cGEgc3M=" else None)

    async with ScriptedMx(script, tls=vouched.context, extensions=("AUTH LOGIN",)) as mx:
        session = await open_session(mx, credentials=LOGIN, ca_file=vouched.ca_file)
        assert session.reusable
        assert mx.commands[-3:] == [b"AUTH LOGIN", b"dXNlcg==", b"cGEgc3M="]


@pytest.mark.parametrize("reply", [b"535 5.7.8 no\r\n", b"454 4.7.0 later\r\n", b"334 \r\n"])
async def test_a_login_that_fails(vouched: Vouched, reply: bytes) -> None:
    server = ScriptedMx(saying(b"AUTH", reply), tls=vouched.context, extensions=("AUTH PLAIN",))
    async with server as mx:
        with pytest.raises(SessionRefused) as refused:
            await open_session(mx, credentials=LOGIN, ca_file=vouched.ca_file)
        assert refused.value.phase is Phase.AUTH
        assert mx.connections == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [((), "offers no AUTH"), (("AUTH CRAM-MD5 NTLM",), "offers only AUTH CRAM-MD5 NTLM")],
)
async def test_no_login_is_said_where_none_is_offered(
    vouched: Vouched, words: tuple[str, ...], reason: str
) -> None:
    async with ScriptedMx(tls=vouched.context, extensions=words) as mx:
        with pytest.raises(LoginUnavailable, match=reason):
            await open_session(mx, credentials=LOGIN, ca_file=vouched.ca_file)
        assert not heard_of_login(mx)


def heard_of_login(mx: ScriptedMx) -> list[bytes]:
    return [line for line in mx.commands if line.startswith(b"AUTH")]


@pytest.mark.parametrize("tls", [TlsMode.OPPORTUNISTIC, TlsMode.REQUIRED, TlsMode.VERIFIED])
async def test_a_login_goes_to_no_host_that_is_not_proven(
    vouched: Vouched, mx_tls: ssl.SSLContext, tls: TlsMode
) -> None:
    """Neither where nobody vouches for the certificate, nor where it is for another name."""
    words = ("AUTH PLAIN",)
    async with ScriptedMx(tls=mx_tls, extensions=words) as unknown:
        with pytest.raises(TlsUnavailable, match="self-signed"):
            await open_session(unknown, tls=tls, credentials=LOGIN, ca_file=vouched.ca_file)
        assert not heard_of_login(unknown)
        assert unknown.connections == 1
    async with ScriptedMx(tls=vouched.context, extensions=words) as other:
        with pytest.raises(TlsUnavailable, match="not valid for"):
            await open_session(
                other, tls=tls, credentials=LOGIN, ca_file=vouched.ca_file, host="mail.test"
            )
        assert not heard_of_login(other)


async def test_a_login_under_tls_from_the_first_octet_goes_to_no_host_that_is_not_proven(
    vouched: Vouched, mx_tls: ssl.SSLContext
) -> None:
    to = {"implicit_tls": True, "credentials": LOGIN, "ca_file": vouched.ca_file}
    hosts = [(mx_tls, "mx.test", "self-signed"), (vouched.context, "mail.test", "not valid for")]
    for context, name, reason in hosts:
        async with ScriptedMx(tls=context, implicit_tls=True, extensions=("AUTH PLAIN",)) as mx:
            with pytest.raises(TlsUnavailable, match=reason):
                await open_session(mx, host=name, **to)  # type: ignore[arg-type]
            assert mx.commands == []
    async with ScriptedMx(
        tls=vouched.context, implicit_tls=True, extensions=("AUTH PLAIN",)
    ) as proven:
        session = await open_session(proven, **to)  # type: ignore[arg-type]
        assert session.tls
        assert heard_of_login(proven)


async def test_a_login_goes_to_any_host_where_that_is_said(mx_tls: ssl.SSLContext) -> None:
    async with ScriptedMx(tls=mx_tls, extensions=("AUTH PLAIN",)) as mx:
        session = await open_session(
            mx, tls=TlsMode.REQUIRED, credentials=LOGIN, unverified_login=True
        )
        assert session.tls
        assert heard_of_login(mx)
        with pytest.raises(TlsUnavailable):
            await open_session(mx, tls=TlsMode.VERIFIED, credentials=LOGIN, unverified_login=True)


@pytest.mark.parametrize("unverified", [False, True])
async def test_a_password_is_never_sent_in_clear_because_tls_failed(
    mx_tls: ssl.SSLContext, unverified: bool
) -> None:
    script = saying(b"STARTTLS", b"454 4.7.0 no TLS now\r\n")
    async with ScriptedMx(script, tls=mx_tls, extensions=("AUTH PLAIN",)) as mx:
        with pytest.raises(SessionError):
            await open_session(mx, credentials=LOGIN, unverified_login=unverified)
        assert not heard_of_login(mx)


@pytest.mark.parametrize("unverified", [False, True])
async def test_a_password_is_never_sent_in_clear_over_a_network(unverified: bool) -> None:
    async with ScriptedMx(extensions=("AUTH PLAIN",)) as mx:
        with pytest.raises(TlsUnavailable, match="offers no TLS to log in under"):
            # This machine by an address that is not a loopback one.
            await open_session(
                mx, address="0.0.0.0", credentials=LOGIN, unverified_login=unverified
            )
        assert not heard_of_login(mx)


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
