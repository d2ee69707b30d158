"""
A connection between accept and its session, on a port without implicit TLS and PROXY headers.

It takes its slot before it costs anything else. A connection over a limit gets 421 and is closed,
and no session is made.
"""

import asyncio
from typing import cast

from postroad.acceptance.admission import ListenerKind
from postroad.ingress.connections.table import address_of
from postroad.ingress.session.host import SessionServer
from postroad.ingress.session.session import SmtpSession
from postroad.smtp.reply import Reply


class Door(asyncio.Protocol):
    """The first protocol of each such connection."""

    def __init__(
        self, host: SessionServer, kind: ListenerKind, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._host = host
        self._kind = kind
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a slot and hand over to a session, or refuse the connection."""
        accepted = cast(asyncio.Transport, transport)
        slot = self._host.enter(address_of(transport.get_extra_info("peername")))
        if isinstance(slot, Reply):
            accepted.write(slot.wire)
            accepted.close()
            return
        session = SmtpSession(self._host, self._kind, self._loop, slot)
        accepted.set_protocol(session)
        session.connection_made(accepted)
