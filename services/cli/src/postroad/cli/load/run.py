"""
Runs a load: keeps the plan's sessions open side by side until nothing is left to send.

A load is always bounded, by a number of messages, by a time, or by both. Sessions that hang at the
end are cut off. If the server refuses us permanently, the load ends at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.cli.handover import Tls, is_for_good, no_greeting, why_no_tls
from postroad.cli.load.figures import LoadFigures
from postroad.cli.load.plan import Letters, LoadPlan
from postroad.cli.load.session import LoadSession

_PAUSE = 0.1  # seconds before a connection that failed is opened again
_LATE = 0.05  # seconds of delay that the rate makes up for: timers are coarse
_LAST_ANSWERS = 60.0  # seconds that sessions have to finish their messages when the time is over


OnAccepted = Callable[[int, float, bytes], None]  # number, monotonic time, reply


def _nobody(number: int, now: float, reply: bytes) -> None:
    """Ignore an accepted message."""


@dataclass
class LoadRun:
    """One run of a plan; `on_accepted` is called for each accepted message."""

    plan: LoadPlan
    on_accepted: OnAccepted = _nobody
    on_ambiguous: Callable[[int], None] = lambda number: None
    figures: LoadFigures = field(default_factory=LoadFigures)
    failed: str = ""
    _number: int = 0
    _returned: deque[int] = field(default_factory=deque)
    _sessions: set[LoadSession] = field(default_factory=set)
    _ready: deque[LoadSession] = field(default_factory=deque)  # sessions that wait for a turn
    _timer: asyncio.TimerHandle | None = None
    _opening: asyncio.TimerHandle | None = None
    _began: float = 0.0
    _due: float = 0.0
    _stopped: bool = False

    def __post_init__(self) -> None:
        self.letters = Letters(self.plan)
        self._number = self.plan.first

    async def run(self) -> LoadFigures:
        """Send, and return the figures."""
        self._began = self._due = time.monotonic()
        sessions = self.plan.sessions
        if self.plan.messages is not None:
            sessions = min(sessions, self.plan.messages)
        tasks = [asyncio.create_task(self._keep_sending()) for _ in range(sessions)]
        limit = self.plan.seconds
        if self.plan.opening is not None:
            loop = asyncio.get_running_loop()
            self._opening = loop.call_later(self.plan.opening, self._expect_a_start)
        try:
            async with asyncio.timeout(None if limit is None else limit + _LAST_ANSWERS):
                await asyncio.gather(*tasks)
        except TimeoutError:
            pass  # messages without an answer by now are ambiguous
        finally:
            await self._end(tasks)
        self.figures.seconds = time.monotonic() - self._began
        return self.figures

    def _expect_a_start(self) -> None:
        """End the load if no connection has come so far that a message could be sent."""
        if self.figures.ready or self.failed:
            return
        server, figures = self.plan.server, self.figures
        if figures.greetings:
            self.failed = f"{server} greets, but no connection came as far as a message"
        elif figures.connections:
            self.failed = no_greeting(server, self.plan.tls)
        self.stop()
        for session in self._sessions:
            session.end()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self.stop()
        if self._opening is not None:
            self._opening.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in list(self._sessions):
            session.end()
            await session.over.wait()

    def stop(self) -> None:
        """Start no more messages; those being sent are finished."""
        self._stopped = True
        self._take_turns()

    def why_nothing(self) -> str:
        """Return why no message was accepted."""
        figures = self.figures
        if self.failed or figures.first_refusal:
            return self.failed or figures.first_refusal
        return "connections were lost" if figures.connections else "no connection could be opened"

    def seconds(self) -> float:
        """Return how long the load has run."""
        return time.monotonic() - self._began

    # Called by sessions

    def await_turn(self, session: LoadSession) -> None:
        """Let a session send when the rate allows it; the one that has waited longest is first."""
        if self.plan.rate is None:
            session.go()
        else:
            self._ready.append(session)
            self._take_turns()

    def leave(self, session: LoadSession) -> None:
        """Remove a session that waits for a turn."""
        if session in self._ready:
            self._ready.remove(session)

    def _take_turns(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._ready and (self._due <= time.monotonic() or not self._has_more()):
            self._ready.popleft().go()
        if self._ready:
            limit = self.plan.seconds
            due = self._due if limit is None else min(self._due, self._began + limit)
            delay = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._take_turns)

    def draw(self, now: float) -> int | None:
        """Return the next message's number; None when there are no more."""
        if not self._has_more():
            return None
        if self.plan.rate is not None:
            # Missed turns are not made up for: a server that was away is not flooded.
            self._due = max(self._due, now - _LATE) + 1.0 / self.plan.rate
        if self._returned:
            return self._returned.popleft()
        self._number += 1
        return self._number - 1

    def _is_over(self, now: float) -> bool:
        limit = self.plan.seconds
        return self._stopped or (limit is not None and now - self._began >= limit)

    def give_back(self, number: int) -> None:
        """Take back a number whose message was not sent."""
        self._returned.append(number)

    def accepted(self, number: int, now: float, reply: bytes) -> None:
        """Count a message that was answered by 250."""
        self.on_accepted(number, now, reply)

    def ambiguous(self, number: int) -> None:
        """Count a message that may have been accepted."""
        self.on_ambiguous(number)

    # Sessions

    def _has_more(self) -> bool:
        more = bool(self._returned) or self._number < self.plan.end
        return more and not self._is_over(time.monotonic())

    async def _keep_sending(self) -> None:
        while self._has_more():
            session = await self._connect()
            if session is None:
                await asyncio.sleep(_PAUSE)
                continue
            await session.over.wait()
            self._sessions.discard(session)
            if session.failed:
                self.failed = session.failed
                self.stop()
            elif session.cut_off:
                await asyncio.sleep(_PAUSE)

    async def _connect(self) -> LoadSession | None:
        plan = self.plan
        implicit = plan.context if plan.tls is Tls.IMPLICIT else None
        session = LoadSession(self)
        self._sessions.add(session)
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(
                lambda: session,
                plan.host,
                plan.port,
                ssl=implicit,
                server_hostname=(plan.tls_name or plan.host) if implicit else None,
            )
        except BaseException as error:
            self._sessions.discard(session)  # it never began, so its `over` is never set
            if not isinstance(error, OSError):
                raise
            if is_for_good(error):
                self.failed = why_no_tls(plan.server, error)
                self.stop()
            self.figures.refused += 1
            return None
        return session
