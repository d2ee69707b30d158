"""
The server's end of one connection: octets in and out, who waits for whom, and its end.

A session's task reads from here and is woken by what happens to the connection. It is cancelled
only where it waits for the blob store with content that will never be whole: elsewhere a cancel may
cut off a message that waits for the queue's acknowledgement. Time is counted by steps, not by gaps
between octets: while the server waits for the client, `waiting_since` says since when and
`patience` for how long, and the server's sweep ends those who are late.
"""

import asyncio
import math
import socket
import struct
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

from aiosmtpd.smtp import SMTP

from postroad.acceptance.transaction import Transaction
from postroad.ingress.connections.table import ConnectionSlot
from postroad.ingress.session.client import Hangup
from postroad.ingress.session.host import SessionServer
from postroad.smtp.reply import Reply
from postroad.smtp.server.conversation import ServerConversation

# Octets of unread input at which a client waits that is not being read from: one that leaves is
# noticed as long as we read.
_HIGH_WATER = 64 * 1024
NOTABLE = 16 * 1024  # octets of input that are counted at once, and not only by the sweep
# TLS keeps what came at once: as it was read, and in its own buffer, encrypted and not.
_TLS_COPIES = 3
_LINGER = 10.0  # seconds in which a client may read the last replies of a closed session
_RESET = struct.pack("ii", 1, 0)
_LAST_WORDS = 2.0  # seconds in which it may go on talking after them, heard by nobody
_TURNED_OUT = 0.25  # seconds in which all is written, or not, when memory is needed


class Wire(SMTP):
    """What a session reads from and writes to; the base of the session."""

    # A dict of forty attributes would be a fifth of what an idle connection takes.
    __slots__ = (
        "_arrived",
        "_closing",
        "_ended",
        "_held_back",
        "_most_at_once",
        "_reading_paused",
        "_shaking_hands",
        "_turned_out",
        "_writing_paused",
        "conversation",
        "host",
        "in_content",
        "loop",
        "output",
        "patience",
        "slot",
        "storing",
        "transport",
        "waiting_since",
    )

    def __init__(
        self, host: SessionServer, loop: asyncio.AbstractEventLoop, slot: ConnectionSlot
    ) -> None:
        # aiosmtpd's constructor works out for each connection what is the same for all of a class
        # (160 µs, most of it inspect.getmembers); what is used of it is set here.
        asyncio.StreamReaderProtocol.__init__(self, None, loop=loop)  # type: ignore[arg-type]
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.host = host
        self.slot = slot
        self.waiting_since = math.inf
        self.patience = host.patience
        self.conversation = ServerConversation[Transaction]()
        self.output: list[bytes] = []
        self.in_content = False
        self.storing = False
        # None of these has the name of an attribute of a base class: `_task` was one that asyncio
        # set to None when the connection was lost.
        self._arrived: asyncio.Future[None] | None = None
        self._held_back: asyncio.Future[None] | None = None
        self._writing_paused: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._ended = False  # the client will say nothing more that counts
        self._closing = False  # we will say nothing more
        self._shaking_hands = False
        self._turned_out = False
        self._most_at_once = 0  # octets that came under TLS

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the connection is gone already."""
        self.transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object") is not None:
            self.conversation.under_tls = True
            self.bound_unread()

    def data_received(self, data: bytes) -> None:
        """Take octets; the session's task is woken when it waits for them."""
        if self._ended:
            return
        self.conversation.receive(data)
        if len(self.conversation.input) > NOTABLE:
            self._much_came(len(data))
        self._wake_reader()

    def _much_came(self, octets: int) -> None:
        unread = len(self.conversation.input)
        if self.conversation.under_tls:
            self._most_at_once = max(self._most_at_once, octets)
        # Whoever waits for it takes it off at once.
        waits = self._arrived is not None or self._reading_paused
        if unread > _HIGH_WATER and not waits and self.transport:
            self._reading_paused = True
            self.transport.pause_reading()
        if unread > self.slot.held:
            self.settle()

    def pause_writing(self) -> None:
        """The client does not read: it is asked for nothing more until it does."""
        self._writing_paused = self.loop.create_future()

    def resume_writing(self) -> None:
        """The client reads again."""
        paused, self._writing_paused = self._writing_paused, None
        _wake(paused)

    def eof_received(self) -> bool:
        """The client will say nothing more: what it said is still answered, but for TLS."""
        self._ended = True
        if self.conversation.under_tls:
            # The loops close TLS both ways: there is nobody to answer any more.
            self._closing = True
            self.conversation.end()
            self._wake_all()
            return False
        if self._closing and self.transport is not None:
            self.transport.close()
        self._wake_reader()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: its slot is free at once, whatever the session is at."""
        self._closing = True
        self._ended = True
        self.conversation.end()
        self.transport = None
        self._wake_all()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.host.leave(self.slot)

    def _wake_reader(self) -> None:
        arrived, self._arrived = self._arrived, None
        _wake(arrived)

    def _wake_all(self) -> None:
        self._wake_reader()
        self.resume_writing()
        _wake(self._held_back)

    # ------------------------------------------------------------ what the session needs

    def bound_unread(self) -> None:
        """Bound what TLS keeps unread as in clear."""
        transport = cast(Any, self.transport)  # typeshed does not know reading's limits
        transport.set_read_buffer_limits(high=_HIGH_WATER)
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def settle(self) -> None:
        """Count how much memory is held now."""
        self.host.hold(self.slot, 0 if self._turned_out else self.held())

    def held(self) -> int:
        """Return how much memory the connection takes, apart from what each one does."""
        if self.transport is None:
            return 0
        unread = self.transport.get_write_buffer_size()
        return unread + sys.getsizeof(self.conversation.input) + self._most_at_once * _TLS_COPIES

    def say(self, reply: Reply) -> None:
        """Add a reply to what is written when the input is used up."""
        self.conversation.answered(reply.code)
        self.output.append(reply.wire)

    def new_step(self) -> None:
        """The client has the time of a whole step from now on."""
        self.patience = self.host.patience

    def earn(self, octets: int) -> None:
        """Give the client time for so many octets of content more, up to that of a whole step."""
        most = self.host.patience
        if self.patience < most:
            earned = octets / self.host.limits.data_rate
            self.patience = min(most, self.patience + earned)

    async def more(self) -> None:
        """Write the replies, then wait for more input; Hangup when there is none to come."""
        known = len(self.conversation.input)
        await self.until_written()
        if len(self.conversation.input) > known:
            return  # it came while replies could not go out, and nobody was there to be woken
        if self._ended:
            raise Hangup
        if self._reading_paused and self.transport:
            self._reading_paused = False
            self.transport.resume_reading()
        if self.slot.held > NOTABLE and self.host.scarce:
            self.settle()  # what is free again may be another's at once
        self._arrived = self.loop.create_future()
        self.waiting_since = began = self.loop.time()
        await self._arrived
        self.waiting_since = math.inf  # from here on it is we who keep the client waiting
        self.patience -= self.loop.time() - began

    async def until_written(self) -> None:
        """Write the replies; wait while the client does not read those of before."""
        self.write_out()
        while self._writing_paused is not None:
            self.new_step()
            self.waiting_since = self.loop.time()
            await self._writing_paused
            self.waiting_since = math.inf
            self.new_step()

    async def pause(self, delay: timedelta) -> None:
        """Let the client wait for a reply for so long, or until it leaves or we end the session."""
        self.write_out()
        if not self._closing:
            self._held_back = self.loop.create_future()
            timer = self.loop.call_later(delay.total_seconds(), _wake, self._held_back)
            await self._held_back
            timer.cancel()
            self._held_back = None
        if self._closing:
            raise Hangup

    def write_out(self) -> None:
        """Write the replies there are."""
        if self.output and not self._closing and self.transport is not None:
            self.transport.write(b"".join(self.output))
        self.output.clear()

    # ------------------------------------------------------------ the end

    def end(self, reply: Reply) -> None:
        """Say this and close, whatever the session is at; what else the client said is dropped."""
        if self._shaking_hands:
            self.abort()  # nothing is said in clear where TLS is due (RFC 3207 §4)
            return
        self.output.append(reply.wire)
        self.close()

    def turn_out(self, reply: Reply) -> None:
        """Say this and close, whether the client reads it or not: what is held is needed."""
        self._turned_out = True
        self.end(reply)
        self.loop.call_later(_TURNED_OUT, self._reset)

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def _reset(self) -> None:
        """Close at once, and let the kernel keep nothing of what the client has not read."""
        if self.transport is not None:
            with suppress(OSError, ValueError):  # it may be closed already
                connection = self.transport.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.abort()

    def close(self) -> None:
        """
        Write the replies and close.

        A socket that is closed with unread input is reset, and the client may lose the reply that
        says why: one that is talking may go on for a moment, heard by nobody.
        """
        self.write_out()
        if self._closing or self.transport is None:
            return
        transport, self._closing = self.transport, True
        # Closing waits for the client to read the rest, for ever if it never does.
        unread = transport.get_write_buffer_size() > 0
        talking = bool(self.conversation.input) or self.in_content
        if talking and not self._ended and not self.conversation.under_tls:
            with suppress(OSError):  # it may have left this moment
                transport.write_eof()
            transport.resume_reading()
            self.loop.call_later(_LAST_WORDS, transport.close)
        else:
            transport.close()
        if unread:
            self.loop.call_later(_LINGER, self._reset)
        self._ended = True
        self.conversation.end()
        self._wake_all()


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
