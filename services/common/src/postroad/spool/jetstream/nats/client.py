"""
nats-py's client with a faster path for records and acknowledgements.

nats-py manages the connection: servers, passwords, reconnects, pings, and rare requests. But it
takes 60 µs to read a message, through two regular expressions, an e-mail parser for the header, a
queue and a task, and as much to write one. Here a message for a `MessageListener` is parsed from
the input block and handed over at once, and all messages posted in one turn of the event loop are
one write. Both paths use one connection, so the order of messages is kept.

The names of inboxes are random. Those of nats-py continue each other, and all processes of a role
see the answers to each other: one of them could name the next answer before it comes, and have the
server send another one there.

It uses private parts of the client (`_ps`, `_nuid`, `_pending`, `_pongs`, `_process_msg`,
`_connect_command`, and the size of reads; `spool.jetstream.nats.tls` others), so nats-py is pinned.
tests/spool/test_fast_client.py fails with a version whose private parts differ.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from nats.aio import client as nats_client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError
from nats.nuid import NUID
from nats.protocol.parser import Parser

from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.loopback import KERNEL_TELLS, peer_uid
from postroad.spool.jetstream.nats.tls import ServerTrust, TlsClient
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_M, _H = ord("M"), ord("H")  # only MSG and HMSG of the server begin with these
_LONGEST_SUBJECT = 3500  # the server closes the connection for a line of more than 4096 octets
_LARGE = 16 * 1024  # octets from which copying costs more than a separate write
# With this, most records come in one block. nats-py reads 32 KiB at a time, so a record of 100 KiB
# would come in four parts.
nats_client.DEFAULT_BUFFER_SIZE = 256 * 1024


MessageListener = Callable[[Incoming], None]


class Listening:
    """The subscription of a listener."""

    def __init__(self, client: "FastClient", subscription: Subscription, sid: int) -> None:
        self._client = client
        self._subscription = subscription
        self._sid = sid

    async def unsubscribe(self) -> None:
        """End the subscription; may raise nats.errors.Error, OSError or ValueError."""
        self._client.listeners.pop(self._sid, None)
        await self._subscription.unsubscribe()


class _RandomNames(NUID):
    """Names that nobody can derive from earlier ones."""

    def next(self) -> bytearray:
        """Return a name that was never used."""
        return bytearray(secrets.token_hex(11).encode())


class FastClient(TlsClient):
    """The client: it adds `listen` and `post` to nats-py's subscribe and publish."""

    def __init__(self, *, server_uid: int | None = None, trust: ServerTrust | None = None) -> None:
        """
        Take what makes a server the right one; any other is sent nothing.

        With `server_uid`, that user of this machine has to run it. With `trust`, it has to have a
        certificate.
        """
        super().__init__(trust)
        self._server_uid = server_uid
        self.listeners: dict[int, MessageListener] = {}
        self._ps = _FastParser(self)
        self._nuid = _RandomNames()
        self._write_due = False

    async def _attempt_reconnect(self) -> None:
        """
        Drop the lost connection, then reconnect as nats-py does.

        nats-py would close the connection and wait until all written data is sent. With a server
        that has vanished, this takes a quarter of an hour, in which no other server is tried.
        """
        self.drop()
        await super()._attempt_reconnect()

    def drop(self) -> None:
        """Close the connection at once, and drop unsent data."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            with contextlib.suppress(AttributeError):  # of a TLS transport that was closed twice
                writer.transport.abort()

    def _connect_command(self) -> bytes:
        """
        Return the CONNECT command, which has our token or password.

        nats-py calls this after the server's greeting, at each connect and reconnect.
        """
        if self._server_uid is not None and KERNEL_TELLS:
            self._check_server(self._server_uid)
        return super()._connect_command()

    def _check_server(self, uid: int) -> None:
        """Raise OSError unless this user of this machine runs the server."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or (peer := writer.get_extra_info("peername")) is None:
            raise OSError("the connection was lost")
        own = writer.get_extra_info("sockname")
        if len(peer) == 2 and peer_uid(own, peer) == uid:  # two parts: IPv4
            return
        self.drop()
        raise OSError(f"another user's program listens on {peer[0]} port {peer[1]}")

    async def _process_pong(self) -> None:
        """
        Handle the server's answer to a PING.

        If nobody waits for it any more, nats-py would fail and stop reading.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def listen(self, subject: str, listener: MessageListener) -> Listening:
        """Call `listener` with each message when it is read; it must neither raise nor block."""
        sid = self._sid + 1  # the id that `subscribe` uses, before its first await
        self.listeners[sid] = listener
        try:
            subscription = await self.subscribe(subject, cb=_nobody)
        except BaseException:
            del self.listeners[sid]
            raise
        return Listening(self, subscription, sid)

    def post(self, subject: str, payload: bytes, *, reply: str = "", header: bytes = b"") -> None:
        """
        Write a message with the others of this turn of the loop; OSError without a connection.

        `header` comes from `header_of`. The caller must not exceed `max_payload` with the whole,
        because the server would close the connection. ValueError for what is no subject.
        """
        if not self.is_connected:
            raise OSError("not connected to NATS")
        if " " in subject or len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
            raise ValueError(f"not a subject: {subject[:100]!r}")
        size = len(header) + len(payload)
        place = f"{subject} {reply} " if reply else f"{subject} "
        line = f"HPUB {place}{len(header)} {size}\r\n" if header else f"PUB {place}{size}\r\n"
        if len(payload) < _LARGE:
            self._pending.append(b"".join((line.encode(), header, payload, b"\r\n")))
        else:
            self._pending += (line.encode() + header, payload, b"\r\n")
        self._pending_data_size += len(line) + size + 2
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        if not self._write_due:
            self._write_due = True
            asyncio.get_running_loop().call_soon(self._write_now)

    def _write_now(self) -> None:
        self._write_due = False
        # Without a connection it stays in nats-py's buffer, which is written after a reconnect.
        if not self._pending or not self.is_connected or not self._transport:
            return
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        try:
            self._transport.writelines(pending)
        except (OSError, RuntimeError) as error:
            # The connection is broken: its reader will notice and reconnect.
            log.debug("nothing can be written to NATS", error=str(error))

    def hear(self, sid: int, message: Incoming) -> bool:
        """Hand a message to its listener; return whether it has one."""
        listener = self.listeners.get(sid)
        if listener is None:
            return False
        try:
            listener(message)
        except Exception:  # otherwise reading from this connection would end
            log.exception("a message from NATS could not be handled", reason=message.subject)
        return True


async def _nobody(_: Msg) -> None:
    """Do nothing: the messages of this subscription go to its listener."""


class _FastParser(Parser):
    """
    Parses complete messages; leaves all other lines to nats-py's parser, one at a time.

    Whoever may publish chooses the octets of a subject. Only a blank, a tab and a line end cannot
    be among them, so words end at blanks and nowhere else. nats-py's parser never gets a message:
    to it, other octets are blanks as well, and then it closes the connection.
    """

    def __init__(self, client: FastClient) -> None:
        super().__init__(client)
        self._client = client
        self._lines = Parser(client)

    async def parse(self, data: bytes = b"") -> None:
        """Parse octets that were read."""
        buffer = self.buf
        if not buffer:
            # Nearly always a block has complete messages, which need not be copied to the buffer.
            leased = await self._take_messages(data)
            if leased == len(data) or buffer is not self.buf:
                return
            data = data[leased:]
        buffer += data
        while buffer:
            leased = await self._take_messages(buffer)
            del buffer[:leased]
            # All is parsed, or the rest of a message is to come, or there is a new connection.
            if not buffer or buffer[0] in (_M, _H) or buffer is not self.buf:
                return
            line_end = buffer.find(b"\r\n") + 2
            if line_end < 2:
                return
            line = bytes(buffer[:line_end])
            del buffer[:line_end]
            await self._take_line(line)
            if buffer is not self.buf:
                return

    async def _take_line(self, line: bytes) -> None:
        """Have nats-py handle a line that is no message."""
        self._lines.reset()
        await self._lines.parse(line)
        if self._lines.buf:
            raise ProtocolError("nats: unknown protocol")

    async def _take_messages(self, octets: bytes | bytearray) -> int:
        """Handle the complete messages at the beginning; return the number of their octets."""
        try:
            with memoryview(octets) as view:
                return await self._cut(octets, view)
        except (ValueError, IndexError) as error:
            raise ProtocolError("nats: malformed MSG") from error

    async def _cut(self, octets: bytes | bytearray, view: memoryview) -> int:
        position, end_of_octets = 0, len(octets)
        while position < end_of_octets and octets[position] in (_M, _H):
            line_end = octets.find(b"\r\n", position)
            if line_end < 0:
                break
            # MSG <subject> <sid> [reply] <size>, HMSG <subject> <sid> [reply] <header> <size>
            words = octets[position:line_end].split(b" ")
            with_header = words[0] == b"HMSG"
            body = line_end + 2
            end = body + int(words[-1])
            if end + 2 > end_of_octets:
                break
            middle = body + int(words[-2]) if with_header else body
            reply = words[3] if len(words) == (6 if with_header else 5) else b""
            header, payload = bytes(view[body:middle]), bytes(view[middle:end])
            position = end + 2
            sid = int(words[2])
            message = Incoming(_text(words[1]), _text(reply), header, payload)
            if not self._client.hear(sid, message):
                subject, answer_to = message.subject.encode(), message.reply.encode()
                await self._client._process_msg(sid, subject, answer_to, payload, header)
        return position


def _text(subject: bytes | bytearray) -> str:
    """Return a subject. What is no UTF-8 in it is escaped by backslashes, which ours never have."""
    return subject.decode("utf-8", "backslashreplace")
