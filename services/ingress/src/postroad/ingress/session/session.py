"""
One SMTP session: blocks of octets in, replies out, a message at a time into the queue.

A subclass of aiosmtpd's SMTP with a hot path of its own. The stock class reads a line at a time,
awaits a drain for each reply and looks its own methods up anew for each connection; here a block is
taken apart as it comes, all pipelined commands in it are answered with one write, and what never
changes is worked out once per class. An error nobody planned is answered 451 4.3.0, with its cause
in the log and nothing of it in the reply.
"""

import asyncio
import math
from datetime import timedelta
from functools import lru_cache

from postroad.acceptance.admission import ListenerKind
from postroad.acceptance.history import Refusal
from postroad.acceptance.incoming import IncomingMessage
from postroad.ingress import metrics, replies
from postroad.ingress.connections.table import ConnectionSlot
from postroad.ingress.session import handshake
from postroad.ingress.session.client import Hangup
from postroad.ingress.session.conduct import Conduct
from postroad.ingress.session.dialog import Dialog
from postroad.ingress.session.host import SessionServer
from postroad.ingress.session.wire import NOTABLE, Wire
from postroad.mail.trace import ClientInfo
from postroad.smtp.reply import Reply
from postroad.smtp.server.commands import CommandSyntaxError
from postroad.smtp.server.events import CommandLine, ContentPiece, SaslResponse
from postroad.smtp.server.refusals import UnreadableInput
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# Commands obeyed before others have their turn, and replies written at once: to a block of short
# commands they are many times as long as it is, and a long list of recipients takes its time.
_AT_ONCE = 100


@lru_cache(maxsize=16)
def _greeting(hostname: str) -> Reply:
    return Reply.of(220, None, f"{hostname} ESMTP Postroad")


class SmtpSession(Wire):
    """The server's side of one connection."""

    __slots__ = (
        "_conduct",
        "_dialog",
        "_handling",
        "_incoming",
        "address",
        "client_info",
        "kind",
    )

    def __init__(
        self,
        host: SessionServer,
        kind: ListenerKind,
        loop: asyncio.AbstractEventLoop,
        slot: ConnectionSlot,
    ) -> None:
        super().__init__(host, loop, slot)
        self.kind = kind
        assert slot.address is not None
        self.address = slot.address
        self.client_info = ClientInfo(slot.address, str(slot.address))
        self._conduct = Conduct(host.limits)
        self._handling: asyncio.Task[None] | None = None
        self._dialog: Dialog | None = None
        self._incoming: IncomingMessage | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session, unless the client has left already."""
        if self._closing:
            return
        super().connection_made(transport)
        self._know_client()
        self.slot.holder = self
        self._handling = self.loop.create_task(self._handle_client())

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone: its slot is free at once, whatever the session is at."""
        super().connection_lost(error)
        self._give_content_up()

    def turn_out(self, reply: Reply) -> None:
        """Say this and close, whether the client reads it or not: what is held is needed."""
        super().turn_out(reply)
        self._give_content_up()

    def _give_content_up(self) -> None:
        """Wait no more for the blob store with content that will never be whole."""
        if self.in_content and not self.storing and self._handling is not None:
            self.in_content = False  # once: a second cancel would break off the deleting
            self._handling.cancel()

    # ------------------------------------------------------------ the session's task

    async def _handle_client(self) -> None:
        try:
            await self._converse()
        except UnreadableInput as error:
            self.output.append(error.reply.wire)
            self._tell("SESSION", error.reply)
        except Hangup as hangup:
            if hangup.reply is not None:
                self.output.append(hangup.reply.wire)
                if hangup.reply.code >= 400 and not hangup.told:
                    self._tell("SESSION", hangup.reply)
        except (asyncio.CancelledError, ConnectionError):
            pass  # the peer left, or the process ends: there is nobody to talk to
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            left_out = self.host.tools.lines.admit("a session failed", "")
            if left_out is not None:
                log.exception("a session failed", peer=self.client_info.peer, left_out=left_out)
            self.output.append(replies.INTERNAL.wire)
            self._tell("SESSION", replies.INTERNAL)
        finally:
            self.close()
            self._dialog = None  # it knows the session: without that, only a collection frees both
            self.settle()
            self.host.forget(self)

    async def _converse(self) -> None:
        host = self.host
        turned_away = host.admit(self)
        if turned_away is not None:
            self._tell("CONNECT", turned_away)
            raise Hangup(turned_away, told=True)
        self.say(_greeting(host.tools.hostname))
        dialog, conversation = Dialog(self), self.conversation
        self._dialog = dialog
        while True:
            said = conversation.next_event()
            if not isinstance(said, CommandLine):
                if host.draining:
                    raise Hangup(replies.DRAINING)
                await self.more()
                continue
            self.patience = host.patience  # a step for the command, and one for what comes then
            await self._obey(dialog, said)
            if len(self.output) >= _AT_ONCE:
                await self.until_written()
                await asyncio.sleep(0)

    async def _obey(self, dialog: Dialog, said: CommandLine) -> None:
        reply = dialog.obey_at_once(said)
        if reply is None:
            reply = await dialog.obey(said)
            self.patience = self.host.patience  # what it waited for took of that
            if reply is None:
                return
        code, host = reply.code, self.host
        if code == 421:
            raise Hangup(reply, told=True)
        by_client = code >= 500 and dialog.by_client
        verdict = self._conduct.judge(said.verb, reply, scarce=host.scarce, by_client=by_client)
        if code == 550 and not by_client and await host.tools.rejections.too_many(self.address):
            verdict = replies.TOO_MANY_ERRORS
        if verdict:
            await self._slow_down(verdict, reply)
        self.say(reply)

    async def _slow_down(self, verdict: float | Reply, reply: Reply) -> None:
        """Make the client wait for a reply, or let it be the session's last but one."""
        if isinstance(verdict, Reply):
            self.say(reply)
            raise Hangup(verdict)
        await self.pause(timedelta(seconds=verdict))

    def _tell(self, command: str, reply: Reply) -> None:
        """Tell of a refusal that is no answer to a command of the dialog."""
        if self._dialog is not None:
            self._dialog.tell(command, reply)
        else:
            refusal = Refusal(command=command, reply=reply, client_info=self.client_info)
            self.host.tools.history.refused(refusal)

    # ------------------------------------------------------------ memory

    @property
    def known(self) -> bool:
        """Whether this is a Client: by login, by the transaction, or by its network."""
        by_client = self._dialog is not None and self._dialog.by_client
        return by_client or self.host.is_known(self.address)

    def held(self) -> int:
        """Return how much memory the session takes."""
        octets = super().held()
        if self._dialog is not None:
            octets += self._dialog.held
        return octets + (self._incoming.held if self._incoming is not None else 0)

    def has_room(self) -> bool:
        """Whether the session may take more memory."""
        return self.host.has_room(self.slot, known=self.known)

    # ------------------------------------------------------------ what the dialog needs

    async def line(self) -> str:
        """Return the client's next line for AUTH; CommandSyntaxError when it is too long or odd."""
        while (said := self.conversation.next_event()) is None:
            await self.more()
        assert isinstance(said, SaslResponse)
        if said.line is None or not said.line.isascii():
            raise CommandSyntaxError("too long, or not ASCII")
        return said.line.decode("ascii")

    async def content(self, incoming: IncomingMessage) -> Reply:
        """Take a message's content up to its end and return the reply to its final dot."""
        conversation = self.conversation
        self.in_content, self._incoming = True, incoming
        try:
            while True:
                said = conversation.next_event()
                if isinstance(said, ContentPiece):
                    piece, self.storing, bare = said
                    if piece:
                        await incoming.add(piece)
                        self.earn(len(piece))
                        if incoming.size > NOTABLE and incoming.held > self.slot.held:
                            self.settle()
                    if self.storing:
                        return await incoming.finish(bare=bare)
                if self.host.scarce:
                    await self._spare_memory(incoming)
                if said is None:
                    await self.more()
        except BaseException:
            await incoming.abort()
            raise
        finally:
            self.in_content, self.storing, self._incoming = False, False, None

    async def _spare_memory(self, incoming: IncomingMessage) -> None:
        # A small message passes: what its envelope takes is free again behind it.
        if incoming.size > NOTABLE and not self.has_room():
            await incoming.refuse(replies.MEMORY_SCARCE)

    def _know_client(self) -> None:
        """Know the client's address and TLS, and nothing that it has said."""
        ssl_object = self.transport.get_extra_info("ssl_object") if self.transport else None
        cipher = ssl_object.cipher() if ssl_object is not None else None
        tls = f"{cipher[1]} {cipher[0]}" if cipher else ""
        self.client_info = ClientInfo(self.address, self.client_info.peer, tls=tls)

    async def start_tls(self) -> None:
        """Answer STARTTLS and shake hands; what came before the handshake is thrown away."""
        assert self.host.tls is not None
        assert self.transport is not None
        self.say(replies.START_TLS)
        await self.until_written()
        # RFC 3207 §4.2, and CVE-2011-0411: nothing said in clear may count under TLS, nor what came
        # while the client did not read. There is no wait from here to the change of the transport.
        self.conversation.tls_started()
        self.waiting_since = self.loop.time()
        self.patience = min(handshake.TIMEOUT, self.host.patience)
        self._shaking_hands = True
        secure = await handshake.start_tls(
            self.transport, self, self.host.tls, self.address, self.host.tools.lines
        )
        self._shaking_hands, self.waiting_since = False, math.inf
        if secure is None:
            # The loops tell of a connection lost in a handshake to the handshake alone.
            self.abort()
            self.connection_lost(None)
        if secure is None or self._closing:
            raise Hangup
        # What is in the input by now came under TLS: the transport changed hands before any wait.
        self.transport = secure
        self.bound_unread()
        self._know_client()

    def end(self, reply: Reply) -> None:
        """Say this and close, whatever the session is at; what else the client said is dropped."""
        if not self._closing:
            self._tell("SESSION", reply)
        super().end(reply)
