"""
One connection's work at a site: its session, the attempt that uses it, and the next one.

The connection alone owns its session. It takes it from the pool or opens it, and keeps or ends it.
There is one at a time, as the site's limit counts connections. Attempts say which endpoint they
want (`attempt.turn`).

Where the next record goes to the same endpoint, its envelope goes out with the final dot of the one
before (RFC 2920 §3.1). From then on the session is the next attempt's. If the attempt under way has
to go on elsewhere, that session is dropped. This is an offer: whatever becomes of the session, the
next attempt has all the tries of any attempt.
"""

import time
from typing import Generic, NamedTuple, Protocol, TypeVar

from postroad.delivery import metrics
from postroad.delivery.attempt.outgoing import Load
from postroad.delivery.attempt.sessions import SiteSessions
from postroad.delivery.context import AttemptContext
from postroad.delivery.sites.site import Site
from postroad.smtp_client.endpoint import Endpoint
from postroad.smtp_client.session import Session
from postroad.smtp_client.transaction import Outgoing

_SHORT_PAUSE = 0.05  # seconds


class Following(Protocol):
    """An attempt that can begin on a session while another ends there."""

    def begins_with(self, most_recipients: int) -> Outgoing:
        """Return its first message, to so many recipients at most."""


A = TypeVar("A", bound=Following)


class Successors(Protocol[A]):
    """Where the next record of a site comes from."""

    def succeed(self, site: Site, connection: "SiteConnection[A]", endpoint: Endpoint) -> A | None:
        """Take the record that is next out, if it goes to this endpoint; return its attempt."""


class Entered(NamedTuple):
    """
    A session that a turn has entered.

    `begun`: the message whose envelope is out there. `is_reused`: it was open before.
    """

    session: Session
    begun: Outgoing | None
    is_reused: bool


class SiteConnection(Generic[A]):
    """
    What one connection is at.

    `next` is the attempt to be run after the one under way.
    """

    __slots__ = (
        "_ahead", "_begun", "_moved_at", "_session", "_sessions", "_site", "_successors", "next"
    )  # fmt: skip

    def __init__(self, context: AttemptContext, site: Site, successors: Successors[A]) -> None:
        self.next: A | None = None
        self._site = site
        self._successors = successors
        self._sessions = SiteSessions(context, site)
        self._session: Session | None = None
        # The messages whose envelopes are out: the attempt under way begins with one, the next with
        # the other.
        self._begun: Outgoing | None = None
        self._ahead: Outgoing | None = None
        self._moved_at = 0.0  # of the session before

    @property
    def moved_at(self) -> float:
        """When a host last showed that it is at work, by time.monotonic; 0 if none did."""
        return self._session.moved_at if self._session is not None else self._moved_at

    async def enter(
        self, endpoint: Endpoint, load: Load, *, anew: bool, tls_failed: str
    ) -> Entered:
        """
        Return a session for a turn at an endpoint: the one begun on, an idle one, or a new one.

        With `anew` it is a new one, and in clear if TLS has failed. Raises NotOpenedError and
        LeaseLost.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            self.abort()  # the next attempt's session, if the one under way goes on elsewhere
        if self._session is None and not anew:
            self._session = self._sessions.take(endpoint)
        session = self._session
        if session is not None:
            metrics.REUSED.inc()
            return Entered(session, begun, is_reused=True)
        session = self._session = await self._sessions.open(endpoint.peer, load, tls_failed)
        return Entered(session, None, is_reused=False)

    def begin_next(self, endpoint: Endpoint, most_messages: int) -> Outgoing | None:
        """
        Let the next attempt go on with the session; return what it begins with.

        None where nothing goes there next, or where it had better wait for another connection. The
        session carries `most_messages` in all.
        """
        session, now = self._session, time.monotonic()
        if session is None or not self._may_go_on(session, endpoint, most_messages, now):
            return None
        self.next = self._successors.succeed(self._site, self, endpoint)
        if self.next is None:
            return None
        most = session.group_size(endpoint.recipients.most(now))
        try:
            self._ahead = self.next.begins_with(most)
        except Exception:
            return None  # it will fail of itself when it is run, and nobody else for it
        return self._ahead

    def _may_go_on(
        self, session: Session, endpoint: Endpoint, most_messages: int, now: float
    ) -> bool:
        if self.next is not None:
            return False  # one is enough: this is another try of ours, for which it waits
        if now < endpoint.plain_until or session.messages + 1 >= most_messages:
            return False
        # Else another connection may be free sooner.
        connections = self._site.limiter.limits.connections
        return endpoint.pause <= _SHORT_PAUSE or not self._site.waiting < connections > 1

    def leave(self, endpoint: Endpoint, load: Load) -> None:
        """End a turn: the session goes to the pool, unless the next attempt has begun on it."""
        if self._session is not None and self._ahead is None:
            self._sessions.keep(self._session, endpoint, load)
            self._let_go()

    def abort(self) -> None:
        """End the session at once, if there is one."""
        if self._session is not None:
            self._sessions.abort(self._session)
            self._let_go()

    def _let_go(self) -> None:
        if self._session is not None:
            self._moved_at = self._session.moved_at
        self._session = self._ahead = None

    def advance(self) -> A | None:
        """Go on to the next attempt, None when there is none."""
        if self._ahead is None:
            self.abort()  # it was of no use to the attempt that ended
        self._begun, self._ahead = self._ahead, None
        ended, self.next = self.next, None
        return ended
