"""
One connection's work at a site: the attempt that uses it, and the next one, begun with its end.

Where the next record goes to the same place, its envelope goes out with the final dot of the one
before (RFC 2920 §3.1). From then on the session is the next attempt's, and nobody but this object
knows both. That is an offer: whatever becomes of the session, the next attempt has all the tries of
any attempt.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from postroad.delivery.client.endpoint import Endpoint
from postroad.delivery.client.session import Session
from postroad.delivery.client.transaction import Outgoing


class Following(Protocol):
    """An attempt that can begin on a session while another ends there."""

    def begins_with(self, most_recipients: int) -> Outgoing:
        """Return its first message, to so many recipients at most."""


A = TypeVar("A", bound=Following)


class SiteConnection(Generic[A]):
    """
    What one connection is at. `next` is an attempt that has to be run after the one under way.

    `choose` takes out the record that is next, if it goes to a place, and returns its attempt.
    """

    __slots__ = ("_choose", "_lent", "_open", "next")

    def __init__(self, choose: "Callable[[SiteConnection[A], Endpoint], A | None]") -> None:
        self.next: A | None = None
        self._choose = choose
        self._open: tuple[Session, Outgoing] | None = None  # what the attempt now begins with
        self._lent: tuple[Session, Outgoing] | None = None  # what the next begins with

    def begun(self) -> tuple[Session | None, Outgoing | None]:
        """Take out the session that is open, and the message whose envelope is out there."""
        taken, self._open = self._open, None
        return taken or (None, None)

    def begin_next(self, session: Session, endpoint: Endpoint, most: int) -> Outgoing | None:
        """
        Let the next attempt go on with a session; return what it begins with.

        Its message has `most` recipients or fewer. None where nothing goes there next.
        """
        self.next = self._choose(self, endpoint)
        if self.next is None:
            return None
        try:
            outgoing = self.next.begins_with(most)
        except Exception:
            return None  # it will fail of itself when it is run, and nobody else for it
        self._lent = (session, outgoing)
        return outgoing

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
