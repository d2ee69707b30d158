"""
One SMTP session: blocks of octets in, replies out, a message at a time into the queue.

A subclass of aiosmtpd's SMTP with a hot path of its own. The stock class reads a line at a time,
awaits a drain for each reply and looks its own methods up anew for each connection; here a block is
taken apart as it comes, all pipelined commands in it are answered with one write, and what never
changes is worked out once per class. An error nobody planned is answered 451 4.3.0, with its cause
in the log and nothing of it in the reply.
"""

import asyncio
import ipaddress
import math
import ssl
from datetime import timedelta
from functools import lru_cache
from typing import Protocol, cast

from aiosmtpd.smtp import SMTP, Session

from postroad.ingress import metrics, replies
from postroad.ingress.admission import Address, ListenerKind
from postroad.ingress.commands import CommandSyntaxError, may_open, read_command
from postroad.ingress.content import ContentReader, LineEnds
from postroad.ingress.dialog import Dialog
from postroad.ingress.hangup import Hangup
from postroad.ingress.history import Refusal
from postroad.ingress.intake import Intake, IntakeTools
from postroad.ingress.logins import Logins
from postroad.policy.model import Snapshot
from postroad.runtime.log_limit import network_of
from postroad.runtime.logs import get_logger
from postroad.smtp.reply import Reply

log = get_logger("ingress.session")

# Octets of unread input at which the client is made to wait, and at which it may go on.
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024
# Replies written at once: to a block of short commands they are many times as long as it is.
_REPLIES_AT_ONCE = 1000
# RFC 5321 §4.5.3.1.4 says 512, more with extensions; RFC 4954 §4 wants 12288 for AUTH.
_COMMAND_LINE = 4096
_AUTH_LINE = 12288
_ENDLESS_LINE = 64 * 1024
_HANDSHAKE_TIMEOUT = 30.0  # seconds
_LINGER = 10.0  # seconds in which a client may read the last replies of a closed session


@lru_cache(maxsize=16)
def _greeting(hostname: str) -> Reply:
    return Reply.of(220, None, f"{hostname} ESMTP Postroad")


class Host(Protocol):
    """What a session needs of its server."""

    tools: IntakeTools
    logins: Logins
    tls: ssl.SSLContext | None
    insecure_auth: bool
    line_ends: LineEnds
    draining: bool

    def snapshot(self) -> Snapshot | None:
        """Return the configuration in force."""

    def admit(self, session: "SmtpSession") -> Reply | None:
        """Count a new session; return why it is turned away."""

    def release(self, session: "SmtpSession") -> None:
        """Give back the place of a session whose connection is gone."""

    def forget(self, session: "SmtpSession") -> None:
        """Forget a session whose conversation is over; its place is free, too."""


class SmtpSession(SMTP):
    """The server's side of one connection."""

    def __init__(
        self,
        host: Host,
        kind: ListenerKind,
        loop: asyncio.AbstractEventLoop,
        *,
        client: tuple[Address, int] | None = None,
    ) -> None:
        """`client` is who a load balancer says this is; without it, whoever connected."""
        # aiosmtpd's constructor works out for each connection what is the same for all of a class
        # (160 µs, most of it inspect.getmembers); what is used of it is set here.
        asyncio.StreamReaderProtocol.__init__(self, asyncio.StreamReader(loop=loop), loop=loop)
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.session: Session | None = None
        self.host = host
        self.kind = kind
        self.line_limit = _COMMAND_LINE
        self.deadline = 0.0  # loop time at which silence is too long
        self.address: Address = ipaddress.IPv4Address(0)
        self.address_text = ""
        self.in_content = False
        self._input = bytearray()
        self._output: list[bytes] = []
        self._arrived: asyncio.Future[None] | None = None
        self._reading_paused = False
        self._writing_paused: asyncio.Future[None] | None = None
        self._ended = False
        self._errors = 0
        # Not `_task`, which the base class sets to None when the connection is lost.
        self._conversation: asyncio.Task[None] | None = None
        self._client = client
        self._dialog: Dialog | None = None

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        self.transport = cast(asyncio.Transport, transport)
        self.session = Session(self.loop)
        peer = transport.get_extra_info("peername")
        if self._client is not None:
            peer = (str(self._client[0]), self._client[1])
        self.session.peer = peer
        if transport.get_extra_info("ssl_object") is not None:
            self.session.ssl = {"started": True}
        self.address = address_of(peer)
        self.address_text = str(self.address)
        self.deadline = self.loop.time() + self.host.tools.limits.idle.total_seconds()
        self._conversation = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        """Take octets; the session's task is woken when it waits for them."""
        if self._ended:
            return
        self._input += data
        if len(self._input) > _HIGH_WATER and not self._reading_paused and self.transport:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        """The client does not read: it is asked for nothing more until it does."""
        self._writing_paused = self.loop.create_future()

    def resume_writing(self) -> None:
        """The client reads again."""
        paused, self._writing_paused = self._writing_paused, None
        if paused is not None and not paused.done():
            paused.set_result(None)

    def eof_received(self) -> bool:
        """The client will say nothing more: what it said is still answered."""
        self._ended = True
        self._wake()
        return not self.tls_active  # keep our side open for replies; TLS cannot be half closed

    def connection_lost(self, error: Exception | None) -> None:
        """
        The connection is gone: its place is free at once, whatever the session is at.

        The session's task is woken, not cancelled: it ends where it next waits for the client. One
        that waits for the queue's acknowledgement hears it, so a message is not left half stored.
        """
        self._ended = True
        self.transport = None
        self.resume_writing()
        self._wake()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.host.release(self)

    def _wake(self) -> None:
        waiter, self._arrived = self._arrived, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ------------------------------------------------------------ the session's task

    async def _handle_client(self) -> None:
        try:
            await self._converse()
        except Hangup as hangup:
            if hangup.reply is not None:
                self._output.append(hangup.reply.wire)
                if hangup.reply.code == 421 and not hangup.told:
                    self._tell("SESSION", hangup.reply)
        except (asyncio.CancelledError, ConnectionError):
            pass  # the peer left, or the process ends: there is nobody to talk to
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            left_out = self.host.tools.lines.admit("a session failed", "")
            if left_out is not None:
                log.exception("a session failed", peer=self.address_text, left_out=left_out)
            self._output.append(replies.INTERNAL.wire)
        finally:
            self._write_out()
            self._close()
            self.host.forget(self)

    def _close(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.close()
        if self.transport.get_write_buffer_size() > 0:
            # Closing waits for the client to read the rest, for ever if it never does.
            self.loop.call_later(_LINGER, self.transport.abort)

    async def _converse(self) -> None:
        turned_away = self.host.admit(self)
        if turned_away is not None:
            self._tell("CONNECT", turned_away)
            raise Hangup(turned_away, told=True)
        self.say(_greeting(self.host.tools.hostname))
        dialog = self._dialog = Dialog(self)
        while True:
            line = self._next_line()
            if not dialog.greeted:
                self._check_opening(line)
            if line is None:
                await self.more()
                continue
            await self._obey(dialog, line)
            if len(self._output) >= _REPLIES_AT_ONCE:
                await self._until_written()

    def _check_opening(self, line: bytes | None) -> None:
        """End the session of a client that speaks another protocol, before it is taken for ours."""
        octets = bytes(self._input[:64]) if line is None else line
        if not may_open(octets, whole=line is not None):
            raise Hangup(replies.NOT_SMTP)

    async def _obey(self, dialog: Dialog, line: bytes) -> None:
        try:
            command = read_command(line)
            reply = await dialog.obey(command)
        except CommandSyntaxError as error:
            reply = Reply.of(501, "5.5.4", str(error))
            self._tell("OTHER", reply)
        if reply is None:
            return
        if reply.code == 421:
            raise Hangup(reply, told=True)
        # A recipient that does not exist is the mail's mistake, not the client's.
        if reply.is_permanent and reply.code != 550:
            self._refused(reply)
        else:
            self.say(reply)

    def _next_line(self) -> bytes | None:
        while (end := self._input.find(b"\r\n")) >= 0:
            line = bytes(memoryview(self._input)[:end])
            del self._input[: end + 2]
            if b"\n" in line or b"\r" in line:
                raise Hangup(replies.BARE_LINE_END)
            if len(line) <= (_AUTH_LINE if line[:4].upper() == b"AUTH" else self.line_limit):
                return line
            self._refused(replies.LINE_TOO_LONG)
        if b"\n" in self._input:
            raise Hangup(replies.BARE_LINE_END)
        if len(self._input) > _ENDLESS_LINE:
            raise Hangup(replies.LINE_ENDLESS)
        return None

    def _refused(self, reply: Reply) -> None:
        self.say(reply)
        self._errors += 1
        if self._errors > self.host.tools.limits.errors:
            raise Hangup(replies.TOO_MANY_ERRORS)

    def _tell(self, command: str, reply: Reply) -> None:
        """Tell of a refusal that is no answer to a command of the dialog."""
        if self._dialog is not None:
            self._dialog.tell(command, reply)
        else:
            refusal = Refusal(command=command, reply=reply, peer=self.address)
            self.host.tools.history.refused(refusal)

    # ------------------------------------------------------------ what the dialog needs

    def say(self, reply: Reply) -> None:
        """Add a reply to what is written when the input is used up."""
        self._output.append(reply.wire)

    async def more(self) -> None:
        """Write the replies, then wait for more input; Hangup when there is none to come."""
        known = len(self._input)
        await self._until_written()
        if self._ended:
            raise Hangup
        if self._reading_paused and len(self._input) <= _LOW_WATER and self.transport:
            self._reading_paused = False
            self.transport.resume_reading()
        if len(self._input) > known:
            return  # it came while replies could not go out, and nobody was there to be woken
        self._set_deadline()
        self._arrived = self.loop.create_future()
        await self._arrived
        self.deadline = math.inf  # from here on it is we who keep the client waiting

    async def _until_written(self) -> None:
        """Write the replies; wait while the client does not read those of before."""
        self._write_out()
        while self._writing_paused is not None:
            self._set_deadline()
            await self._writing_paused
        self.deadline = math.inf

    def _set_deadline(self) -> None:
        self.deadline = self.loop.time() + self.host.tools.limits.idle.total_seconds()

    def _write_out(self) -> None:
        if self._output and self.transport is not None:
            self.transport.write(b"".join(self._output))
        self._output.clear()

    async def pause(self, delay: timedelta) -> None:
        """Let the client wait for a reply for so long, or until it leaves."""
        until = self.loop.time() + delay.total_seconds()
        while not self._ended and (left := until - self.loop.time()) > 0:
            self._arrived = self.loop.create_future()
            await asyncio.wait([self._arrived], timeout=left)
        if self.transport is None:
            raise Hangup

    async def line(self) -> str:
        """Return the client's next line for AUTH; CommandSyntaxError when it is not ASCII."""
        self.line_limit = _AUTH_LINE
        try:
            while (line := self._next_line()) is None:
                await self.more()
        finally:
            self.line_limit = _COMMAND_LINE
        if not line.isascii():
            raise CommandSyntaxError("not ASCII")
        return line.decode("ascii")

    async def content(self, intake: Intake) -> Reply:
        """Take a message's content up to its end and return the reply to its final dot."""
        normalise = self.host.line_ends.normalised(submitted=intake.submitted)
        reader = ContentReader(normalise=normalise)
        self.in_content = True
        try:
            while True:
                piece = reader.take(self._input)
                if piece:
                    await intake.add(piece)
                if reader.done:
                    break
                if not piece:
                    await self.more()
            return await intake.finish(bare=reader.bare)
        except BaseException:
            await intake.abort()
            raise
        finally:
            self.in_content = False

    @property
    def tls_active(self) -> bool:
        """Whether the session is under TLS."""
        return self.session is not None and self.session.ssl is not None

    @property
    def tls_text(self) -> str:
        """The TLS version and cipher for the trace field, "" without TLS."""
        ssl_object = self.transport.get_extra_info("ssl_object") if self.transport else None
        cipher = ssl_object.cipher() if ssl_object is not None else None
        return f"{cipher[1]} {cipher[0]}" if cipher else ""

    async def start_tls(self) -> None:
        """Answer STARTTLS and shake hands; what came before the handshake is thrown away."""
        assert self.host.tls is not None
        assert self.transport is not None
        assert self.session is not None
        # RFC 3207 §4.2, and CVE-2011-0411: nothing said in clear may count under TLS.
        self._input.clear()
        self.say(replies.START_TLS)
        self._write_out()
        try:
            transport = await self.loop.start_tls(
                self.transport,
                self,
                self.host.tls,
                server_side=True,
                ssl_handshake_timeout=_HANDSHAKE_TIMEOUT,
            )
        except (OSError, ssl.SSLError) as error:
            metrics.TLS_HANDSHAKES.labels("failed").inc()
            left_out = self.host.tools.lines.admit("TLS", network_of(self.address))
            if left_out is not None:
                log.info(
                    "a TLS handshake failed",
                    peer=self.address_text,
                    error=str(error),
                    left_out=left_out,
                )
            raise Hangup from error
        if transport is None:
            raise Hangup
        metrics.TLS_HANDSHAKES.labels("succeeded").inc()
        # What is in the input by now came under TLS: the transport changed hands before any wait.
        self.transport = transport
        self.session.ssl = {"started": True}

    def end_if_idle(self, reply: Reply) -> None:
        """Close the session unless it is in the middle of a message."""
        if not self.in_content:
            self.end(reply)

    def end(self, reply: Reply) -> None:
        """Say this and close, whatever the session is at; what else the client said is dropped."""
        if self._ended and self.transport is None:
            return
        self._tell("SESSION", reply)
        self._output.append(reply.wire)
        self._write_out()
        self._ended = True
        self._input.clear()
        self._close()
        self.resume_writing()
        self._wake()


def address_of(peer: object) -> Address:
    """Return the IP address of a socket's peer; an IPv4 address in IPv6 clothes as what it is."""
    host = peer[0] if isinstance(peer, tuple) else ""
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return ipaddress.IPv4Address(0)
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address
