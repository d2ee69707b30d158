"""
One SMTP session as a client, used for transaction after transaction. `opening` opens it.

A transaction has three steps: `begin` says the envelope, `send` the content but for its end, `end`
the final dot. Between them the caller decides whether to go on, and what goes next. The session
asks nobody.

What a peer refused is a Reply and no error; an error here means that the session is of no use any
more, and says in which phase, and whether the message may have been taken all the same.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from postroad.smtp import command
from postroad.smtp.client import Phase
from postroad.smtp.dotstuff import DotStuffer
from postroad.smtp.reply import Reply
from postroad.smtp_client.conversation import Conversation
from postroad.smtp_client.dispositions import ASTRAY, Answer, Protection, answer_of
from postroad.smtp_client.peer import Peer, SessionError, SessionLost
from postroad.smtp_client.transaction import Outgoing, TransactionReplies

NEEDS_SMTPUTF8 = Reply.of(550, "5.6.7", "the next hop does not take addresses beyond ASCII")
NEEDS_SIZE = Reply.of(552, "5.3.4", "the message is larger than the next hop takes")

_WITH_THE_DOT = 128 * 1024  # octets: an end of content that is no longer goes with the final dot


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
        self._unsent = b""  # the last of the content, but for the final dot
        self._stuffer = DotStuffer()

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

    async def begin(self, outgoing: Outgoing, transaction: TransactionReplies) -> bool:
        """
        Say a message's envelope, and note in `transaction` what is answered, as it comes.

        Return whether the peer takes content: then `send` and `end` have to follow. SessionLost
        where the session is lost meanwhile.
        """
        refusal = self._local_refusal(outgoing)
        if refusal is not None:
            transaction.mail = refusal
            transaction.unasked = True
            return False
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
            return False
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
                return True
        elif self.reusable:
            await self._reset()
        return False

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

    async def send(self, outgoing: Outgoing) -> bool:
        """
        Send the content but for its end; return whether the peer still listens.

        If it does not, it has said why, and `end` hears it. What goes wrong with the content drops
        the connection: without the final dot the peer drops the message.
        """
        self._stuffer, self._unsent = DotStuffer(), b""
        try:
            if isinstance(outgoing.content, bytes):
                self._unsent = self._stuffer.feed(outgoing.content)
            elif not await self._send_blocks(outgoing.content):
                return False
        except SessionError:
            raise
        except BaseException:
            self.abort()
            raise
        return self._dialog.connection.usable

    async def _send_blocks(self, content: AsyncIterator[bytes]) -> bool:
        """Send content block by block, with one in memory; False if the peer does not listen."""
        while (block := await self._next_block(content)) is not None:
            if not self._dialog.connection.usable:
                return False
            unsent, self._unsent = self._unsent, b""
            await self._dialog.write_block(unsent)
            if len(block) > _WITH_THE_DOT:
                await self._dialog.write_block(block)
                block = b""
            self._unsent = block
        return True

    async def _next_block(self, content: AsyncIterator[bytes]) -> bytes | None:
        # The chunk is gone when this returns: what is sent of it may be another object.
        chunk = await anext(content, None)
        return self._stuffer.feed(chunk) if chunk is not None else None

    @property
    def goes_ahead(self) -> bool:
        """Whether the envelope of the message that goes next may be written with the final dot."""
        return self.pipelines and self._dialog.connection.usable

    async def end(self, transaction: TransactionReplies, following: Outgoing | None = None) -> None:
        """
        End the content with the final dot, and note the answer.

        `following` is the message that goes next, where the session `goes_ahead`: its envelope is
        written with the dot (RFC 2920 §3.1), which spares a round trip and a write. It has to be
        the next that is begun here, or the session is dropped. SessionLost says whether the message
        may have been taken.
        """
        if not self._dialog.connection.usable:
            transaction.final = await self._cut_short()
        else:
            end = self._conversation.end_content(self._stuffer.finish()) + self._ahead_of(following)
            last, self._unsent = self._unsent, b""
            self._dialog.write(last, end)
            written = time.monotonic()
            transaction.final = await self._dialog.answer()
            self.pause = time.monotonic() - written
        self.messages += 1

    def _ahead_of(self, following: Outgoing | None) -> bytes:
        """Return the envelope of the message that goes next, nothing when it has to wait."""
        if following is None or self._local_refusal(following) is not None:
            return b""
        envelope = self._envelope(following)
        self._ahead = following
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
