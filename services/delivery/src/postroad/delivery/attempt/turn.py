"""
An attempt's turn in one session: the message goes out to group after group of its recipients.

A group is as large as the peer takes. What it finds too many goes in the next transaction of the
same session, and how many it took is remembered for the place. When the attempt has lasted long
enough, the groups that have not been tried are left to the record's next form. A session that was
used before may have died unnoticed, and an envelope that went ahead is a wager of ours: what is
lost that way says nothing, and is asked for anew.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from postroad.delivery import metrics
from postroad.delivery.attempt.connection import SiteConnection
from postroad.delivery.attempt.outgoing import Load
from postroad.delivery.attempt.verdict import LOST, SessionFacts, Verdict, judge
from postroad.delivery.outcome import Outcome, deferred, of_reply
from postroad.smtp.client import Phase
from postroad.smtp_client.dispositions import ENVELOPE, Step
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.peer import SessionLost
from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing, TransactionReplies


class Share(NamedTuple):
    """What an attempt does at most: from its first recipient on, until a time by time.monotonic."""

    first: int
    until: float

    def ends_before(self, number: int) -> bool:
        """Whether the attempt ends before this recipient; each comes to one more at least."""
        return number > self.first and time.monotonic() >= self.until


class Turn:
    """
    The turn of an attempt in a session of its connection, at one endpoint. Between two transactions
    it stops where the attempt's `share` is done.

    After `run`, however it ended: `verdict` says what became of the recipients, `reached` whether
    the peer took or refused anything, `tls_failed` why another session with it is to be in clear,
    `resume_from` at which recipient it stopped, 0 if it did not.
    """

    # From `run` on.
    _session: Session
    _most_messages: int
    _is_reused: bool

    def __init__(
        self, connection: SiteConnection[Any], load: Load, endpoint: Endpoint, share: Share
    ) -> None:
        self.verdict = Verdict()
        self.resume_from = 0
        self.reached = False
        self.tls_failed = ""
        self._load = load
        self._endpoint = endpoint
        self._connection = connection
        self._share = share

    async def run(self, left: list[int], *, anew: bool, tls_failed: str) -> None:
        """
        Send to recipients, in a new session if `anew`, and in clear if TLS has failed.

        Raises NotOpenedError; LeaseLost, if the record must be dropped; body errors pass through.
        """
        connection = self._connection
        entered = await connection.enter(
            self._endpoint, self._load, anew=anew, tls_failed=tls_failed
        )
        session = self._session = entered.session
        self._is_reused = entered.is_reused
        self.reached = not entered.is_reused  # one that was opened just now has answered
        self.tls_failed = session.tls_failed
        session.one_by_one = time.monotonic() < self._endpoint.one_by_one_until
        self._most_messages = self._load.most_messages(session)
        try:
            await self._send_to(left, entered.begun)
        except BaseException:
            connection.abort()
            raise
        connection.leave(self._endpoint, self._load)

    async def _send_to(self, left: list[int], begun: Outgoing | None) -> None:
        """Send to recipients, of whom the first may be `begun` with."""
        while left:
            if self._session.messages >= self._most_messages:
                self._anew(left, deferred("the session had carried its share", status=LOST))
                return
            if not self._session.ready_for(begun):
                if begun is not None:
                    self._endpoint.speak_plainly()
                self._closed(left)
                return
            size = self._session.group_size(self._endpoint.recipients.most(time.monotonic()))
            if begun is not None:
                size = len(begun.recipients)
            rest = left[size:]
            left = await self._transact(left[:size], begun, is_last=not rest) + rest
            begun = None
            if left and self._share.ends_before(left[0]):
                self._stop_before(left)
                return

    def _stop_before(self, left: Sequence[int]) -> None:
        self.resume_from = left[0]
        for number in left:  # what was too many for the transaction before
            self.verdict.open.pop(number, None)

    def _anew(self, group: Sequence[int], outcome: Outcome) -> None:
        for number in group:
            self.verdict.open[number] = (Step.ANEW, outcome)

    def _closed(self, left: Sequence[int]) -> None:
        closed = deferred("the session was closed", status=LOST, host=self._session.peer.host)
        if self._may_be_stale:
            self._anew(left, closed)
            return
        for number in left:
            self.verdict.open.setdefault(number, (Step.NEXT_ADDRESS, closed))

    @property
    def _may_be_stale(self) -> bool:
        return self._is_reused or self._session.messages > 0

    async def _transact(
        self, group: list[int], begun: Outgoing | None, *, is_last: bool
    ) -> list[int]:
        """Do one transaction; return the recipients that were too many for it."""
        session, load = self._session, self._load
        was_ahead = session.is_ahead  # then its lease was looked at as MAIL was written
        if not was_ahead and not load.consumer.fresh(load.leased):
            session.abort()
            raise load.lease_lost
        message = begun or load.outgoing(group)
        transaction = TransactionReplies(recipients=[None] * len(group))
        may_be_stale = self._may_be_stale
        lost = None
        try:
            if await session.begin(message, transaction):
                await self._send(message, transaction, is_last=is_last)
        except SessionLost as error:
            lost = error
        self._note(transaction, lost)
        wager_lost = was_ahead and self._is_wager_lost(transaction, lost)
        # Some hosts take one message for each session, and say so to the next.
        if wager_lost or (may_be_stale and transaction.is_out_of_turn):
            session.abort()
            said = str(lost or transaction.mail)
            self._anew(group, deferred(said, status=LOST, host=session.peer.host))
            return []
        if lost is None and transaction.is_delivered:
            host, tls = session.peer.host, session.tls
            assert transaction.final is not None
            outcome = of_reply(transaction.final, Phase.FINAL_DOT, host=host, tls=tls)
            self.verdict.add_delivered(group, outcome)
            self._endpoint.recipients.took(len(group))
            return []
        found = judge(group, transaction, self._facts(), lost)
        if may_be_stale and not transaction.is_begun and (lost or transaction.farewell):
            found.open = {n: (Step.ANEW, outcome) for n, (_, outcome) in found.open.items()}
        if any(outcome.ambiguous for outcome in found.decided.values()):
            metrics.AMBIGUOUS.inc()
        self.verdict.add(found)
        return self._go_on(transaction, found, lost)

    async def _send(
        self, message: Outgoing, transaction: TransactionReplies, *, is_last: bool
    ) -> None:
        """Send the content, and end it while the lease holds; the next may begin with the end."""
        session, load = self._session, self._load
        following = None
        if await session.send(message):
            if not await load.consumer.confirm(load.leased):
                session.abort()
                raise load.lease_lost
            if is_last and session.goes_ahead and not transaction.too_many:
                following = self._connection.begin_next(self._endpoint, self._most_messages)
        await session.end(transaction, following)

    def _note(self, transaction: TransactionReplies, lost: SessionLost | None) -> None:
        """Remember what the transaction tells of the place."""
        if lost is None:
            self.reached = True
            if transaction.final is not None:
                self._endpoint.pause = self._session.pause
            return
        self.reached |= lost.ambiguous or transaction.is_begun
        if lost.ambiguous:
            self._endpoint.pause = math.inf

    def _is_wager_lost(self, transaction: TransactionReplies, lost: SessionLost | None) -> bool:
        """
        Whether the envelope was lost, or refused, perhaps for the moment at which it came.

        What refuses MAIL then may also answer the message before: no mail bounces for it.
        """
        if (lost is not None and lost.phase in ENVELOPE) or transaction.is_out_of_step:
            self._endpoint.speak_plainly()
            return True
        mail = transaction.mail
        if mail is None or not mail.is_permanent:
            return False
        if transaction.is_out_of_turn:
            self._endpoint.speak_plainly()
        return True

    def _facts(self) -> SessionFacts:
        session = self._session
        return SessionFacts(
            session.peer.host, session.tls, session.protection, pipelined=session.pipelines
        )

    def _go_on(
        self, transaction: TransactionReplies, found: Verdict, lost: SessionLost | None
    ) -> list[int]:
        if not found.open:
            return []
        if found.left_to(Step.PLAINLY):
            self._endpoint.speak_one_by_one()
            self._session.abort()
        if found.left_to(Step.IN_CLEAR):
            self.tls_failed = str(lost)
        too_many = found.left_to(Step.NEXT_TRANSACTION)
        if too_many and transaction.ends_in_too_many:
            self._endpoint.recipients.refused(transaction.accepted, time.monotonic())
        return too_many
