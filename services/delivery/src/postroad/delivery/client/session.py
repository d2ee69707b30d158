"""
One SMTP session as a client, used for transaction after transaction. `opening` opens it.

What a peer refused is a Reply and no error; an error here means that the session is of no use any
more, and says in which phase, and whether the message may have been taken all the same.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from postroad.delivery.client.conversation import Conversation
from postroad.delivery.client.peer import Peer, SessionError, SessionLost, TransactionAbandoned
from postroad.delivery.client.transaction import Outgoing, TransactionReplies
from postroad.delivery.disposition.table import ASTRAY, Answer, Protection, answer_of
from postroad.smtp import command
from postroad.smtp.client import Phase
from postroad.smtp.dotstuff import DotStuffer
from postroad.smtp.reply import Reply

NEEDS_SMTPUTF8 = Reply.of(550, "5.6.7", "the next hop does not take addresses beyond ASCII")
NEEDS_SIZE = Reply.of(552, "5.3.4", "the message is larger than the next hop takes")

BeforeDot = Callable[[], Awaitable[bool]]
Following = Callable[[], Outgoing | None]


def nothing() -> None:
    """Nothing follows."""


class Session:
    """
    An open session. Use `opening.open_session`.

    `tls_failed`: why it is in clear though TLS was offered. `one_by_one`: a command at a time,
    whatever the peer announces.
    """

    def __init__(self, peer: Peer, dialog: Conversation, *, tls_failed: str = "") -> None:
        self.peer = peer
        self.tls_failed = tls_failed
        self.one_by_one = False
        self.messages = 0
        self.pause = 0.0  # seconds between the last final dot and its answer
        self._dialog = dialog
        self._conversation = dialog.conversation
        self._ahead: Outgoing | None = None

    @property
    def tls(self) -> str:
        """The TLS version and cipher, "" without TLS."""
        return self._dialog.connection.tls

    @property
    def gone(self) -> "asyncio.Future[None]":
        """Done once its connection is closed."""
        return self._dialog.connection.gone

    @property
    def moved_at(self) -> float:
        """When its peer last showed that it is at work, by time.monotonic."""
        return self._dialog.connection.moved_at

    @property
    def protection(self) -> Protection:
        """How it stands with TLS."""
        if self.tls:
            return self.peer.protection
        return Protection.FAILED if self.tls_failed else Protection.CLEAR

    @property
    def pipelines(self) -> bool:
        """Whether commands go out together (RFC 2920)."""
        return self._conversation.extensions.pipelining and not self.one_by_one

    def group_size(self, most: int) -> int:
        """Return how many recipients one message may have, `most` unless the peer says fewer."""
        return min(most, self._conversation.extensions.most_recipients or most)

    @property
    def most_messages(self) -> int | None:
        """How many messages of a session the peer says it takes (RFC 9422), None if it does not."""
        return self._conversation.extensions.most_messages

    @property
    def reusable(self) -> bool:
        """Whether another transaction can be begun."""
        return self.ready_for(None)

    @property
    def is_ahead(self) -> bool:
        """Whether the envelope of the next transaction is out already."""
        return self._ahead is not None

    def ready_for(self, outgoing: Outgoing | None) -> bool:
        """Whether this transaction, or just any, can be begun, or gone on with if it is begun."""
        if self._conversation.over or (self._ahead is not None and self._ahead is not outgoing):
            return False
        return self._ahead is not None or self._dialog.connection.usable

    # ------------------------------------------------------------ one transaction

    async def transact(
        self,
        outgoing: Outgoing,
        transaction: TransactionReplies,
        before_dot: BeforeDot,
        following: Following = nothing,
    ) -> None:
        """
        Send one message and take down in `transaction` what was answered, as it comes.

        `before_dot` is asked before the final dot: when it says no, the connection is dropped and
        Abandoned raised. SessionLost says whether the message may have been taken.

        `following` is asked then for the message that goes next, to a server with PIPELINING: its
        envelope is written with the dot (RFC 2920 §3.1), which spares a round trip and a write.
        What it returns has to be the next that is transacted here, or the session is dropped.
        """
        refusal = self._local_refusal(outgoing)
        if refusal is not None:
            transaction.mail = refusal
            transaction.unasked = True
            return
        if self._ahead is None:
            await self._say_envelope(outgoing, transaction)
        else:
            self._ahead = None
            await self._hear_envelope(transaction, ahead=True)
        if transaction.data is not None and transaction.data.is_positive:
            # RFC 5321 §3.3: 354 or a refusal. Anything else answers something else.
            code, transaction.data = transaction.data.code, None
            raise self._dialog.lost(Phase.DATA, f"DATA was answered with {code}", Answer.ODD)
        if self._conversation.over:
            if transaction.data is not None and transaction.data.is_intermediate:
                transaction.data = None  # an invitation to nothing
            if self._conversation.fault is not None:
                # An answer too many: nobody knows which of them was to what.
                raise self._dialog.lost(Phase.DATA, str(self._conversation.fault))
            return
        if transaction.data is not None and transaction.data.is_intermediate:
            if not transaction.accepted:
                # RFC 2920 §3.1: nobody takes it, but DATA was begun: an empty message ends it.
                self._conversation.break_off()
                self._dialog.write(b".\r\n")
                await self._dialog.answer()
                transaction.data = None
            elif not transaction.is_begun:
                # MAIL was refused and somebody taken: the empty message would go there.
                self.abort()
                transaction.data = None
            else:
                transaction.final = await self._send_content(outgoing, before_dot, following)
                self.messages += 1
        elif self.reusable:
            await self._reset()

    def _local_refusal(self, outgoing: Outgoing) -> Reply | None:
        extensions = self._conversation.extensions
        if outgoing.smtputf8 and not extensions.smtputf8:
            return NEEDS_SMTPUTF8
        if extensions.size is not None and outgoing.size > extensions.size:
            return NEEDS_SIZE
        return None

    def _mail_command(self, outgoing: Outgoing) -> bytes:
        extensions = self._conversation.extensions
        parameters = []
        if extensions.size is not None:
            parameters.append(f"SIZE={outgoing.size}")
        # To a server without 8BITMIME eight-bit content goes as it is: servers that mangle it are
        # gone, and a converted message would lose its signatures.
        if outgoing.eight_bit and extensions.eight_bit:
            parameters.append("BODY=8BITMIME")
        if outgoing.smtputf8:
            parameters.append("SMTPUTF8")
        if extensions.dsn:
            parameters += outgoing.mail_parameters
        return command.mail(outgoing.mail, parameters)

    async def _say_envelope(self, outgoing: Outgoing, transaction: TransactionReplies) -> None:
        if self.pipelines:
            self._dialog.write(self._envelope(outgoing))
            await self._hear_envelope(transaction)
        else:
            await self._say_one_by_one(outgoing, transaction)

    def _envelope(self, outgoing: Outgoing) -> bytes:
        recipients = [command.rcpt(mailbox) for mailbox in outgoing.recipients]
        return self._conversation.say_envelope(self._mail_command(outgoing), recipients)

    async def _hear_envelope(self, transaction: TransactionReplies, *, ahead: bool = False) -> None:
        mail = transaction.mail = await self._dialog.answer(ahead=ahead)
        if not mail.is_positive and answer_of(Phase.MAIL, mail) in ASTRAY:
            # The other answers answer something else, too, or do not come at all.
            raise self._dialog.lost(Phase.MAIL, f"MAIL was answered with {mail}", Answer.MISPLACED)
        for number in range(len(transaction.recipients)):
            transaction.hear_recipient(number, await self._dialog.answer())
        transaction.data = await self._dialog.answer()
        if transaction.data_answers_a_recipient:
            # A host that means it says so again when it is asked a command at a time.
            said = f"DATA was answered with {transaction.data}"
            raise self._dialog.lost(Phase.DATA, said, Answer.MISPLACED)

    async def _say_one_by_one(self, outgoing: Outgoing, transaction: TransactionReplies) -> None:
        mail = transaction.mail = await self._ask(Phase.MAIL, self._mail_command(outgoing))
        if not mail.is_positive:
            return
        for number, mailbox in enumerate(outgoing.recipients):
            reply = await self._ask(Phase.RCPT, command.rcpt(mailbox), number)
            transaction.hear_recipient(number, reply)
            if reply.code == 421:
                return
        if transaction.accepted:
            transaction.data = await self._ask(Phase.DATA, b"DATA\r\n")

    async def _ask(self, phase: Phase, octets: bytes, number: int = 0) -> Reply:
        self._dialog.say(phase, lambda: self._conversation.say_one(phase, octets, number))
        return await self._dialog.answer()

    async def _send_content(
        self, outgoing: Outgoing, before_dot: BeforeDot, following: Following
    ) -> Reply:
        stuffer = DotStuffer()
        last = end = b""
        try:
            if isinstance(outgoing.content, bytes):
                last = stuffer.feed(outgoing.content)
            else:
                async for chunk in outgoing.content:
                    if not self._dialog.connection.usable:
                        return await self._cut_short()
                    await self._dialog.write_block(last)
                    last = stuffer.feed(chunk)
            go_on = await before_dot()
            if go_on and self._dialog.connection.usable:
                end = self._conversation.end_content(stuffer.finish()) + self._begin(following)
        except SessionError:
            raise
        except BaseException:
            # The content cannot be had whole: without the final dot the peer drops it.
            self.abort()
            raise
        if not go_on:
            self.abort()
            raise TransactionAbandoned("the lease was in doubt before the final dot")
        if not end:
            return await self._cut_short()
        self._dialog.write(last, end)
        written = time.monotonic()
        reply = await self._dialog.answer()
        self.pause = time.monotonic() - written
        return reply

    def _begin(self, following: Following) -> bytes:
        """Return the envelope of the message that goes next, nothing when it has to wait."""
        if not self.pipelines:
            return b""
        outgoing = following()
        if outgoing is None or self._local_refusal(outgoing) is not None:
            return b""
        envelope = self._envelope(outgoing)
        self._ahead = outgoing
        return envelope

    async def _cut_short(self) -> Reply:
        """Return what a peer says that will not hear the content's end; SessionLost if nothing."""
        self._conversation.break_off()
        reply = await self._dialog.answer()
        self.abort()
        if reply.is_positive:
            reason = "the peer took the message before its end"
            raise SessionLost(Phase.CONTENT, reason, answer=Answer.GARBLED)
        return reply

    async def _reset(self) -> None:
        try:
            self._dialog.write(self._conversation.say_rset())
            reply = await self._dialog.answer()
        except SessionLost:
            return  # what was decided before stays decided
        if not reply.is_positive:
            self._conversation.over = True

    # ------------------------------------------------------------ the end

    def abort(self) -> None:
        """Drop the connection."""
        self._dialog.abort()

    def hang_up(self) -> None:
        """Say QUIT and close without waiting for the answer; never raises."""
        self._dialog.close(goodbye=self.reusable)

    async def quit(self) -> None:
        """Say QUIT and close; never raises."""
        await self._dialog.quit(goodbye=self.reusable)
