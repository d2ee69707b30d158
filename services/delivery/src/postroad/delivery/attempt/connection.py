"""
One connection's work at a site: the attempt that uses it, and the next one, begun with its end.

Where the next record goes to the same place, its envelope goes out with the final dot of the one
before (RFC 2920 §3.1). From then on the session is the next attempt's, and nobody but this object
knows both. That is an offer: whatever becomes of the session, the next attempt has all the tries of
any attempt.
"""

import time
from typing import Generic, Protocol, TypeVar

from postroad.delivery.client.endpoint import Endpoint
from postroad.delivery.client.session import Session
from postroad.delivery.client.transaction import Outgoing
from postroad.delivery.sites.site import Site

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


class SiteConnection(Generic[A]):
    """What one connection is at. `next` is the attempt to be run after the one under way."""

    __slots__ = ("_lent", "_open", "_site", "_successors", "next")

    def __init__(self, site: Site, successors: Successors[A]) -> None:
        self.next: A | None = None
        self._site = site
        self._successors = successors
        self._open: tuple[Session, Outgoing] | None = None  # what the attempt now begins with
        self._lent: tuple[Session, Outgoing] | None = None  # what the next begins with

    def begun(self) -> tuple[Session | None, Outgoing | None]:
        """Take out the session that is open, and the message whose envelope is out there."""
        taken, self._open = self._open, None
        return taken or (None, None)

    def begin_next(
        self, session: Session, endpoint: Endpoint, most_messages: int
    ) -> Outgoing | None:
        """
        Let the next attempt go on with a session; return what it begins with.

        None where nothing goes there next, or where it had better wait for another connection. The
        session carries `most_messages` in all.
        """
        now = time.monotonic()
        if not self._may_go_on(session, endpoint, most_messages, now):
            return None
        self.next = self._successors.succeed(self._site, self, endpoint)
        if self.next is None:
            return None
        most = session.group_size(endpoint.recipients.most(now))
        try:
            outgoing = self.next.begins_with(most)
        except Exception:
            return None  # it will fail of itself when it is run, and nobody else for it
        self._lent = (session, outgoing)
        return outgoing

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

    def lends(self, session: Session) -> bool:
        """Whether a session is the next attempt's by now."""
        return self._lent is not None and self._lent[0] is session

    def take_back(self) -> Session | None:
        """Return the session that was lent, which the next attempt does without, to be dropped."""
        lent, self._lent = self._lent, None
        return lent[0] if lent is not None else None

    def advance(self) -> A | None:
        """Go on to the next attempt, None when there is none."""
        if self._open is not None:
            self._open[0].abort()  # it was of no use to the attempt that ended
        self._open, self._lent = self._lent, None
        ended, self.next = self.next, None
        return ended
