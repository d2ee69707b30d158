"""
Idle sessions, kept for the next message to the same place.

Bounded for each place and in all; a session whose peer has hung up, or that has carried its share
of messages, is not handed out again. The clock is an argument.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from postroad.delivery.session import Session

# Long enough for the next message of a burst, and shorter than any server waits (RFC 5321
# §4.5.3.2.7 asks for five minutes): a session kept for nothing takes a place from others.
IDLE = 10.0  # seconds
PER_PLACE = 20
IN_ALL = 200


@dataclass(slots=True)
class _Idle:
    session: Session
    under: tuple[Hashable, ...]
    since: float


class SessionPool:
    """The idle sessions of a process, by place: whatever names a host with all that matters."""

    def __init__(
        self, *, idle: float = IDLE, per_place: int = PER_PLACE, in_all: int = IN_ALL
    ) -> None:
        self._idle = idle
        self._per_place = per_place
        self._in_all = in_all
        self._places: OrderedDict[Hashable, list[_Idle]] = OrderedDict()
        self._count = 0
        self._counts: Counter[Hashable] = Counter()

    def take(self, place: Hashable, now: float) -> Session | None:
        """Return an idle session, the one used last, None when there is none."""
        waiting = self._places.get(place, [])
        while waiting:
            found = waiting.pop()
            self._forget(found)
            if not waiting:
                self._places.pop(place, None)
            if found.session.reusable and now - found.since < self._idle:
                return found.session
            found.session.abort()
        return None

    def give(
        self, place: Hashable, session: Session, now: float, *, under: tuple[Hashable, ...]
    ) -> bool:
        """
        Keep a session for the next message; return whether there is room for it.

        `under` is what it counts for: the site, and what a way out has of it.
        """
        waiting = self._places.get(place, [])
        if not session.reusable or len(waiting) >= self._per_place or self._count >= self._in_all:
            return False
        self._places.setdefault(place, waiting).append(_Idle(session, under, now))
        self._count += 1
        self._counts.update(under)
        return True

    def count(self, key: Hashable) -> int:
        """Return how many sessions are kept under a key."""
        return self._counts.get(key, 0)

    def surplus(self, key: Hashable, room: int) -> list[Session]:
        """Take out the sessions kept under a key beyond `room`; the caller says goodbye."""
        if self._counts.get(key, 0) <= room:
            return []
        return self._take_out(lambda idle: key in idle.under and self._counts[key] > room)

    def expired(self, now: float) -> list[Session]:
        """Take out the sessions that have been idle for too long; the caller says goodbye."""
        return self._take_out(lambda idle: now - idle.since >= self._idle)

    def _take_out(self, leaves: Callable[[_Idle], bool]) -> list[Session]:
        found = []
        for place, waiting in list(self._places.items()):
            kept = []
            for idle in waiting:
                if leaves(idle):
                    self._forget(idle)
                    found.append(idle.session)
                else:
                    kept.append(idle)
            if kept:
                self._places[place] = kept
            else:
                del self._places[place]
        return found

    def _forget(self, idle: _Idle) -> None:
        self._count -= 1
        for key in idle.under:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    async def close(self) -> None:
        """Say QUIT on every idle session."""
        sessions = [idle.session for waiting in self._places.values() for idle in waiting]
        self._places.clear()
        self._counts.clear()
        self._count = 0
        await asyncio.gather(*(session.quit() for session in sessions))
