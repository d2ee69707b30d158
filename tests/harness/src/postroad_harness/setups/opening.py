"""Opens a session to a peer, for tests of the SMTP client."""

from dataclasses import replace
from datetime import timedelta

from postroad.policy.model import Credentials, TlsMode
from postroad.smtp_client.opening import open_session as open_to
from postroad.smtp_client.peer import (
    Peer,
    Timeouts,
)
from postroad.smtp_client.session import Session
from postroad.testing.peers.mx import Script, ScriptedMx

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
