"""
The pool of idle SMTP sessions, kept for the next message to the same endpoint.

The number of sessions is limited for each endpoint and in total. A session whose peer has hung up,
or that has had its limit of messages, is not used again. The clock is an argument.

A session counts as a connection of its site until its socket is closed, because hosts count that
way. So sessions that are being closed are counted here, too, and a new connection waits until there
is room.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from postroad.delivery.sites.limits import SiteLimiter
from postroad.smtp_client.session import Session

Under = tuple[Hashable, ...]

# Long enough for the next message of a burst. It is far less than a server waits (RFC 5321
# §4.5.3.2.7 requires five minutes), because an idle session takes a connection from others.
IDLE = 10.0  # seconds
PER_PLACE = 20
IN_ALL = 200


@dataclass(slots=True)
class _Idle:
    session: Session
    under: Under
    since: float


class SessionPool:
    """The idle sessions of a process, by endpoint."""

    def __init__(
        self, *, idle: float = IDLE, per_place: int = PER_PLACE, in_all: int = IN_ALL
    ) -> None:
        self._idle = idle
        self._per_place = per_place
        self._in_all = in_all
        self._places: OrderedDict[Hashable, list[_Idle]] = OrderedDict()
        self._count = 0
        self._kept: Counter[Hashable] = Counter()
        self._leaving: Counter[Hashable] = Counter()
        self._one_went = asyncio.Event()

    def take(self, endpoint: Hashable, now: float) -> Session | None:
        """Return the idle session that was used last, None when there is none."""
        waiting = self._places.get(endpoint, [])
        while waiting:
            found = waiting.pop()
            self._forget(found)
            if not waiting:
                self._places.pop(endpoint, None)
            if found.session.reusable and now - found.since < self._idle:
                return found.session
            found.session.abort()
            self.count_until_gone(found.session, under=found.under)
        return None

    def give(self, endpoint: Hashable, session: Session, now: float, *, under: Under) -> bool:
        """
        Keep a session for the next message; return whether there was room for it.

        `under` has the keys for which it counts: the site, and the site of an egress path.
        """
        waiting = self._places.get(endpoint, [])
        if not session.reusable or len(waiting) >= self._per_place or self._count >= self._in_all:
            return False
        self._places.setdefault(endpoint, waiting).append(_Idle(session, under, now))
        self._count += 1
        self._kept.update(under)
        return True

    def count(self, key: Hashable) -> int:
        """Return how many sessions of a key are idle or being closed."""
        return self._kept.get(key, 0) + self._leaving.get(key, 0)

    def count_until_gone(self, session: Session, *, under: Under) -> None:
        """Count a session until its connection is closed, which the caller does."""
        if not session.gone.done():
            self._leaving.update(under)
            session.gone.add_done_callback(lambda _: self._went(under))

    def _went(self, under: Under) -> None:
        _take_off(self._leaving, under)
        self._one_went.set()
        self._one_went = asyncio.Event()

    async def make_room(self, limiters: Mapping[Hashable, SiteLimiter]) -> None:
        """
        Wait until no key has more open sessions than its limiter allows besides those in use.

        Surplus idle sessions are closed.
        """
        while over := [key for key, each in limiters.items() if self.count(key) > each.idle_room]:
            leaving = [idle for key in over for idle in self.surplus(key, limiters[key].idle_room)]
            if leaving:
                await asyncio.gather(*(session.quit() for session in leaving))
            else:
                await self._one_went.wait()

    def surplus(self, key: Hashable, room: int) -> list[Session]:
        """Remove and return a key's idle sessions beyond `room`; the caller closes them."""
        if self._kept.get(key, 0) <= room:
            return []
        return self._take_out(lambda idle: key in idle.under and self._kept[key] > room)

    def all(self) -> list[Session]:
        """Remove and return all sessions; the caller closes them."""
        return self._take_out(lambda _: True)

    def expired(self, now: float) -> list[Session]:
        """Remove and return the sessions that were idle for too long; the caller closes them."""
        return self._take_out(lambda idle: now - idle.since >= self._idle)

    def _take_out(self, leaves: Callable[[_Idle], bool]) -> list[Session]:
        found = []
        for endpoint, waiting in list(self._places.items()):
            kept = []
            for idle in waiting:
                if leaves(idle):
                    self._forget(idle)
                    self.count_until_gone(idle.session, under=idle.under)
                    found.append(idle.session)
                else:
                    kept.append(idle)
            if kept:
                self._places[endpoint] = kept
            else:
                del self._places[endpoint]
        return found

    def _forget(self, idle: _Idle) -> None:
        self._count -= 1
        _take_off(self._kept, idle.under)

    async def close(self) -> None:
        """Close every idle session with QUIT."""
        await asyncio.gather(*(session.quit() for session in self.all()))


def _take_off(counts: Counter[Hashable], keys: Under) -> None:
    for key in keys:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
