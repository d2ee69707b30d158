"""
One attempt at a record: walk a route's hosts until each pending recipient has an outcome.

A session is taken from the pool or opened; what a host says of itself leads to the next host, what
it says of the mail is final for this attempt. Before MAIL and before the final dot the record's
lease is looked at: a process cut off from the queue must not send what another may be sending.

Where the next record goes to the same place, its envelope goes out with this one's final dot, and
its attempt, the *successor*, goes on with the session. That is an offer: whatever becomes of the
session, the successor has all the tries of any attempt.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from postroad.delivery import metrics
from postroad.delivery.candidates import Candidates
from postroad.delivery.network import NetworkError, NoRoute
from postroad.delivery.opening import open_session
from postroad.delivery.outcome import Outcome, deferred, of_reply
from postroad.delivery.outgoing import outgoing
from postroad.delivery.peer import Abandoned, Peer, Refused, SessionError, SessionLost, Timeouts
from postroad.delivery.place import Place, Places
from postroad.delivery.pool import SessionPool
from postroad.delivery.routing import Host, Route
from postroad.delivery.session import Following, Session, nothing
from postroad.delivery.site import Site, Waiting
from postroad.delivery.transaction import Outgoing, Transaction
from postroad.mail.status import EnhancedStatus
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.spool.errors import LeaseLost
from postroad.spool.interface import Spool, Taking
from postroad.spool.record import QueueRecord, RecipientState

PER_TRANSACTION = 100  # recipients, RFC 5321 §4.5.3.1.8: all servers take so many

_SHORT_PAUSE = 0.05  # seconds
_ENVELOPE = (Phase.MAIL, Phase.RCPT, Phase.DATA)
_UNREACHABLE = EnhancedStatus(4, 4, 1)
_LOST = EnhancedStatus(4, 4, 2)


@dataclass(slots=True)
class AttemptTools:
    """What every attempt of a process shares."""

    spool: Spool
    taking: Taking
    pool: SessionPool
    hostname: str
    timeouts: Timeouts
    places: Places = field(default_factory=Places)


@dataclass(slots=True)
class Ended:
    """An attempt's end: outcomes by recipient position, and whether the site was reached at all."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    reached: bool = False
    peer_address: str = ""


class Attempt:
    """
    One attempt. Raises LeaseLost when the record must be dropped; body errors pass through.

    `succeed` is asked for the next record's attempt, should it go to this place too; `successor`
    is what it gave, and has to be run after this one.
    """

    def __init__(
        self,
        tools: AttemptTools,
        waiting: Waiting,
        route: Route,
        site: Site,
        succeed: "Succeed",
    ) -> None:
        self.waiting = waiting
        self.route = route
        self.successor: Attempt | None = None
        self._tools = tools
        self._site = site
        self._taken = waiting.taken
        self._record: QueueRecord = waiting.taken.record
        self._way_out = waiting.way_out
        self._succeed = succeed
        self._session: Session | None = None  # that of the attempt before
        self._begun: Outgoing | None = None  # what was said on it already
        self._handed: Session | None = None  # to the successor
        self._transaction = Transaction()  # the last one with the host that is tried
        self._ended = Ended()
        self._last_failure = deferred("no host was tried", status=_UNREACHABLE)
        source = waiting.source.address if waiting.source else None
        self._candidates = Candidates(route, source)

    async def run(self) -> Ended:
        """Try host after host until every pending recipient has an outcome."""
        left = self._pending()
        place = self.place
        while left and (target := self._candidates.next()) is not None:
            left = await self._try(place or self._place_of(*target), left)
            place = None
        for number in left:
            self._ended.outcomes[number] = self._last_failure
        return self._ended

    def _pending(self) -> list[int]:
        return [
            number
            for number, recipient in enumerate(self._record.recipients)
            if recipient.state is RecipientState.PENDING
        ]

    @cached_property
    def place(self) -> Place | None:
        """Where the first try goes; None when there is nowhere to go."""
        first = self._candidates.first
        return self._place_of(*first) if first is not None else None

    def _place_of(self, host: Host, address: str) -> Place:
        return self._tools.places.of(self._way_out.name, self._peer(host, address))

    async def _try(self, place: Place, left: list[int]) -> list[int]:
        """Try one address; return the recipients another host should be tried for."""
        self._transaction = Transaction()
        reused, self._session = self._session, None
        reused = reused or self._tools.pool.take(place, time.monotonic())
        if reused is not None:
            metrics.REUSED.inc()
            left = await self._use(reused, place, left)
            # A session that was idle may have died unnoticed: the host itself gets a fair try. Once
            # it has taken MAIL it has had that, and another would be one more than its limits know.
            if not left or self._transaction.is_begun:
                return left
        session = await self._open(place.peer)
        return await self._use(session, place, left) if session is not None else left

    def _peer(self, host: Host, address: str) -> Peer:
        source = self.waiting.source
        return Peer(
            host=host.name,
            address=address,
            port=host.port,
            ehlo=(source.ehlo if source else None) or self._tools.hostname,
            tls=self._way_out.tls,
            implicit_tls=self._way_out.implicit_tls,
            credentials=self._way_out.credentials,
            source=source.address if source else None,
        )

    async def _open(self, peer: Peer) -> Session | None:
        """Open a session in our slot; sessions that idle at the site make room for it."""
        pool, site = self._tools.pool, self._site
        surplus = pool.surplus(site.key, site.limiter.idle_room)
        for idle in surplus + pool.surplus(site.name, site.total.limiter.idle_room):
            await idle.quit()
        timeouts = self._tools.timeouts
        if self._site.is_hurried(time.monotonic()):
            timeouts = timeouts.hurried
        try:
            session = await open_session(peer, timeouts)
        except Refused as error:
            self._ended.reached = True
            refusal = deferred(f"{error.phase}: {error.reply}", status=_LOST, host=peer.host)
            self._last_failure = replace(refusal, answered=True)
        except (SessionError, NetworkError) as error:
            if isinstance(error, NoRoute):
                self._candidates.untried()
            reason = f"{peer.host} ({peer.address}): {error}"
            self._last_failure = deferred(reason, status=_UNREACHABLE, host=peer.host)
        else:
            metrics.OPENED.inc()
            self._ended.reached = True
            return session
        metrics.NOT_OPENED.inc()
        return None

    async def _use(self, session: Session, place: Place, left: list[int]) -> list[int]:
        """Send to the recipients left, a hundred at a time; return those not decided here."""
        undecided: list[int] = []
        for start in range(0, len(left), PER_TRANSACTION):
            chunk = left[start : start + PER_TRANSACTION]
            if self._carried_enough(session):
                session.hang_up()
                session = await self._open(session.peer) or session
            begun, self._begun = self._begun, None
            if not session.ready_for(begun):
                if begun is not None:
                    place.speak_plainly()
                self._transaction = Transaction()
                undecided += chunk
                continue
            is_last = start + PER_TRANSACTION >= len(left)
            following = partial(self._hand_over, session, place) if is_last else nothing
            undecided += await self._transact(session, place, chunk, begun, following)
        if session is not self._handed:
            self._keep(session, place)
        return undecided

    def _hand_over(self, session: Session, place: Place) -> Outgoing | None:
        """Let the next record's attempt go on with our session; return what it begins with."""
        limits, now = self._way_out.limits, time.monotonic()
        if self.successor is not None:
            return None  # one is enough: this is another try of ours, for which it waits
        if now < place.plain_until or session.messages + 1 >= limits.messages_per_connection:
            return None
        if place.pause > _SHORT_PAUSE and self._site.waiting < limits.connections > 1:
            return None  # another connection may be free sooner
        self.successor = self._succeed(place)
        if self.successor is None:
            return None
        try:
            begun = self.successor.take_over(session)
        except Exception:
            return None  # it will fail of itself when it is run, and nobody else for it
        self._handed = session
        return begun

    def take_over(self, session: Session) -> Outgoing:
        """Begin on a session on which another attempt is about to end; `run` goes on."""
        self._begun = outgoing(self._tools.spool, self._record, self._pending()[:PER_TRANSACTION])
        self._session = session
        return self._begun

    def _keep(self, session: Session, place: Place) -> None:
        pool, site = self._tools.pool, self._site
        enough = self._carried_enough(session)
        if enough or not pool.give(place, session, time.monotonic(), under=(site.name, site.key)):
            session.hang_up()

    def _carried_enough(self, session: Session) -> bool:
        return session.messages >= self._way_out.limits.messages_per_connection

    async def _transact(
        self,
        session: Session,
        place: Place,
        chunk: Sequence[int],
        begun: Outgoing | None,
        following: Following,
    ) -> list[int]:
        was_ahead = session.is_ahead  # then its lease was looked at as MAIL was written
        if not was_ahead and not self._tools.taking.fresh(self._taken):
            session.abort()
            raise LeaseLost(str(self._record.record_id))
        message = begun or outgoing(self._tools.spool, self._record, chunk)
        transaction = self._transaction = Transaction(recipients=[None] * len(chunk))
        try:
            await session.transact(message, transaction, self._may_end, following)
        except Abandoned as error:
            raise LeaseLost(str(self._record.record_id)) from error
        except SessionLost as error:
            if error.ambiguous:
                place.pause = math.inf
            if was_ahead and error.phase in _ENVELOPE:
                place.speak_plainly()
                self._transaction = Transaction()  # perhaps for coming ahead: not a fair try
                if transaction.mail is not None and transaction.mail.is_permanent:
                    return self._unjudged(session, chunk, transaction.mail)
            return self._lost(session, chunk, transaction, error)
        self._ended.reached = True
        if transaction.final is not None:
            place.pause = session.pause
        if was_ahead and transaction.mail is not None and transaction.mail.is_permanent:
            if transaction.is_out_of_turn:
                place.speak_plainly()
            return self._unjudged(session, chunk, transaction.mail)
        self._ended.peer_address = session.peer.address
        return self._decide(session, chunk, transaction)

    def _unjudged(self, session: Session, chunk: Sequence[int], reply: Reply) -> list[int]:
        """
        Ask again plainly, on another session, where MAIL was refused that went ahead.

        It may be for coming when it did, or answer the message before: no mail bounces for it.
        """
        self._last_failure = deferred(str(reply), status=_LOST, host=session.peer.host)
        session.abort()
        return list(chunk)

    async def _may_end(self) -> bool:
        return await self._tools.taking.confirm(self._taken)

    def _decide(
        self, session: Session, chunk: Sequence[int], transaction: Transaction
    ) -> list[int]:
        undecided = []
        for position, number in enumerate(chunk):
            reply = transaction.reply_for(position)
            if reply is None or reply.code == 421:
                undecided.append(number)
                continue
            outcome = of_reply(
                reply, host=session.peer.host, tls=session.tls, answered=not transaction.unasked
            )
            self._ended.outcomes[number] = outcome
            metrics.OUTCOMES[outcome.kind].inc()
        if undecided:
            # 421 is about the host, not the mail: another host may take it.
            self._last_failure = of_reply(transaction.farewell, host=session.peer.host)
        return undecided

    def _lost(
        self,
        session: Session,
        chunk: Sequence[int],
        transaction: Transaction,
        error: SessionLost,
    ) -> list[int]:
        """Decide after a lost session: in doubt where the final dot was out, else undecided."""
        host = session.peer.host
        lost = deferred(str(error), status=_LOST, host=host, ambiguous=error.ambiguous)
        self._ended.reached |= error.ambiguous or transaction.is_begun
        if error.ambiguous:
            metrics.AMBIGUOUS.inc()
        elif transaction.farewell is not None:
            lost = of_reply(transaction.farewell, host=host)
        undecided = []
        for position, number in enumerate(chunk):
            reply = transaction.reply_for(position)
            refused = reply is not None and reply.code != 421 and not reply.is_intermediate
            if reply is not None and refused and (reply.is_permanent or error.ambiguous):
                outcome = of_reply(reply, host=host, tls=session.tls)
            elif error.ambiguous:
                outcome = lost
            else:
                undecided.append(number)
                continue
            self._ended.outcomes[number] = outcome
            metrics.OUTCOMES[outcome.kind].inc()
        if undecided:
            self._last_failure = lost
        return undecided


# Takes out the next record if it goes to a place, and returns its attempt; None when it does not.
Succeed = Callable[[Place], Attempt | None]
