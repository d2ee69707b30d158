"""Logging in to a next hop: by which mechanism, and to whom a password is never sent."""

import base64
import ssl

import pytest

from postroad.policy.model import TlsMode
from postroad.smtp.client import Phase
from postroad.smtp_client.peer import (
    LoginUnavailable,
    SessionError,
    SessionRefused,
    TlsUnavailable,
)
from postroad.testing.peers.certificates import Vouched
from postroad.testing.peers.mx import ScriptedMx
from postroad_harness.setups.opening import LOGIN, open_session, saying


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
