"""
One attempt at a record: walk a route's hosts until each pending recipient has an outcome.

Each address is tried in a turn or more (`delivery.attempt.turn`), for which the connection has a
session (`delivery.attempt.connection`). What a turn leaves open is tried again in another session
with the same address, or with the next address, as `smtp_client.dispositions` says; what nobody
decides has the last answer for its outcome.

An attempt that takes long ends between two transactions: what has become of the recipients so far
is stored, and the others go on in the record's next form. Else a process that is killed would send
again all that its earlier transactions had delivered, and a record that takes longer than a process
lives would never end.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from postroad.delivery import metrics
from postroad.delivery.attempt.candidates import Candidates
from postroad.delivery.attempt.connection import SiteConnection
from postroad.delivery.attempt.endpoints import AttemptEndpoints
from postroad.delivery.attempt.outgoing import Load
from postroad.delivery.attempt.sessions import NotOpenedError
from postroad.delivery.attempt.standing import Standing
from postroad.delivery.attempt.turn import Share, Turn
from postroad.delivery.body_room import TakenRoom
from postroad.delivery.context import AttemptContext
from postroad.delivery.outcome import Outcome
from postroad.delivery.routing.lookups import sender_of
from postroad.delivery.routing.routes import MailHost, Route
from postroad.delivery.routing.sources import suiting
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.policy.model import Source
from postroad.smtp_client.dispositions import Step
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.peer import Peer
from postroad.smtp_client.transaction import Outgoing
from postroad.spool.record import BlobRef, QueueRecord, RecipientState
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)


@dataclass(slots=True)
class AttemptResult:
    """
    An attempt's end: outcomes by recipient position; `reached`: some host gave it a session.

    `asked`: some host was asked for a connection; else none could be reached from this source.
    `resume_from`: the first recipient that it did not come to, 0 if it came to all.
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    reached: bool = False
    asked: bool = False
    resume_from: int = 0
    peer_address: str = ""
    peers: dict[str, Peer] = field(default_factory=dict)  # by host, as each was tried last


class Attempt:
    """One attempt. Raises LeaseLost if the record must be dropped; body errors and OwnLack pass."""

    def __init__(
        self,
        context: AttemptContext,
        waiting: WaitingRecord,
        route: Route,
        connection: SiteConnection["Attempt"],
    ) -> None:
        self.waiting = waiting
        self.route = route
        self.silence = 0.0  # seconds without a sign of its host at its end
        self._long_enough = context.long_enough.total_seconds()
        self._load = Load(context.spool, context.consumer, waiting)
        self._record: QueueRecord = waiting.leased.record
        self._connection = connection
        self._ended = AttemptResult()
        self._standing = Standing()
        self._share = Share(0, 0.0)
        self._began = 0.0
        self._context = context
        self._room: TakenRoom | None = None
        self._begin_from(waiting.source)

    def _begin_from(self, source: Source | None) -> None:
        """Begin with the first address that can be tried from a source."""
        context = self._context
        self._endpoints = AttemptEndpoints(context, self.waiting)
        # There are few, and many attempts.
        is_dead = self._endpoints.is_dead if context.outages else None
        # A host that perhaps took the mail and did not say so would do it again.
        last = self._record.doubtful_hosts
        address = source.address if source else None
        self._candidates = Candidates(self.route, address, is_dead, last=last)

    @property
    def known(self) -> AttemptResult:
        """What has come of it so far: all of it when it was broken off."""
        return self._ended

    @property
    def moved_at(self) -> float:
        """When a host last showed that it is at work on it, or it began, by time.monotonic."""
        return max(self._began, self._connection.moved_at)

    def takes_room(self) -> bool:
        """Take room for its body in memory until it has run; False if there is none now."""
        record, content = self._record, self._record.content
        if not isinstance(content, BlobRef):
            return True
        sender = sender_of(record, self.waiting.egress_path)
        self._room = self._context.body_room.take(
            record.origin.namespace or sender,
            f"{sender} {record.traffic_class}",
            self.route.site,
            content.in_memory,
        )
        return self._room is not None

    async def run(self) -> AttemptResult:
        """Try address after address until all have an outcome, or until it has taken long."""
        try:
            await self._walk()
        finally:
            if self._room is not None:
                self._room.give_back()
            self.silence = time.monotonic() - self.moved_at
            for outcome in self._ended.outcomes.values():
                metrics.OUTCOMES[outcome.kind].inc()
        return self._ended

    async def _walk(self) -> None:
        left = self._pending()
        self._began = time.monotonic()
        self._share = Share(left[0], self._began + self._long_enough)
        endpoint = self.endpoint
        while left and (target := self._candidates.next()) is not None:
            left = await self._try(target[0], endpoint or self._endpoints.of(target), left)
            endpoint = None
        if left:
            final = self._candidates.are_exhausted or datetime.now(UTC) >= self._record.deadline
            self._ended.outcomes |= self._standing.of(left, final=final)

    def _pending(self) -> list[int]:
        """Return who is to be tried: where an attempt goes on, who was not tried in it yet."""
        pending = [
            number
            for number, recipient in enumerate(self._record.recipients)
            if recipient.state is RecipientState.PENDING
        ]
        first = self._record.resume_from
        # An older process, which does not know of it, may have ended the attempt.
        return ([number for number in pending if number >= first] or pending) if first else pending

    @cached_property
    def endpoint(self) -> Endpoint | None:
        """Where the first try goes; None when there is nowhere to go."""
        first = self._candidates.first
        return self._endpoints.of(first) if first is not None else None

    async def _try(self, host: MailHost, endpoint: Endpoint, left: list[int]) -> list[int]:
        """Try one address; return the recipients another should be tried for."""
        self._ended.peers[endpoint.peer.host] = endpoint.peer
        elsewhere: list[int] = []
        anew, tls_failed = False, ""
        while left:
            turn = await self._turn(endpoint, left, anew=anew, tls_failed=tls_failed)
            if turn is None:
                break
            verdict = turn.verdict
            if not verdict.open:
                return elsewhere
            left = sorted(verdict.left_here)
            elsewhere += verdict.left_elsewhere
            if verdict.is_lacking:
                self._candidates.drop(host)
            elif verdict.left_to(Step.NEXT_HOST):
                self._candidates.leave(host)
            anew, tls_failed = True, tls_failed or turn.tls_failed
        return sorted(left + elsewhere)

    async def _turn(
        self, endpoint: Endpoint, left: list[int], *, anew: bool, tls_failed: str
    ) -> Turn | None:
        """
        Send to the recipients left in one session, and take down what became of them.

        None if no session could be opened; then that stands for the recipients.
        """
        turn = Turn(self._connection, self._load, endpoint, self._share)
        try:
            await turn.run(left, anew=anew, tls_failed=tls_failed)
        except NotOpenedError as error:
            self._ended.asked |= not error.is_untried
            if error.is_untried:
                self._candidates.untried()
            self._standing.add(left, error.outcome)
            if error.lacks_source:
                self._change_source(error.outcome.text)
            return None
        finally:  # what was decided stays so when the rest is broken off
            self._take_down(turn, endpoint)
        return turn

    def _change_source(self, reason: str) -> None:
        """Go on from another source of the egress path, if this machine has its address."""
        lacked, now = self.waiting.source, time.monotonic()
        missing, egress_path = self._context.missing_sources, self.waiting.egress_path
        if lacked is None or lacked.address is None:
            return
        if missing.fails(lacked.address, now):
            log.warning(
                "a source address is not on this machine; other sources are used, if there are any",
                source=lacked.name,
                address=lacked.address,
                relay_object=egress_path.name.removeprefix("relay:"),
                reason=reason,
            )
        other = suiting(lacked, egress_path.sources, self.route.hosts, missing, now)
        if other is None or missing.has(other, now):
            self._candidates.end()
            return
        self.waiting.source = other
        self._begin_from(other)

    def _take_down(self, turn: Turn, endpoint: Endpoint) -> None:
        verdict = turn.verdict
        self._ended.reached |= turn.reached
        if verdict.decided:
            self._ended.peer_address = endpoint.peer.address
        self._ended.outcomes |= verdict.decided
        if turn.resume_from:
            self._ended.resume_from = turn.resume_from  # what is tried after that is before it
        for number, (_, outcome) in verdict.open.items():
            self._standing.add([number], outcome)

    def begins_with(self, most_recipients: int) -> Outgoing:
        """Return its first message, to so many recipients at most."""
        return self._load.outgoing(self._pending()[:most_recipients])
