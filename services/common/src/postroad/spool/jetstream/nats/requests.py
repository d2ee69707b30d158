"""
Many concurrent requests on one subscription: publishes, acknowledgements, lease renewals.

A request is a name and a future: it costs one write and one dictionary entry, and the answer sets
the future's result. A request of nats-py costs about 60 µs, mostly for inboxes and tasks.

The name is random, because other processes of the role see the answers (`client` beside this). It
is known to them only when the answer is there, and then it is used up.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.incoming import Incoming, header_of

NO_RESPONDERS = "503"
_PATIENCES = 8  # so many different timeouts have a shared timer

PendingAnswer = asyncio.Future[Incoming]


class NoResponders(SpoolUnavailable):
    """Nobody serves the subject: the request was certainly not processed."""


class _Patience:
    """
    Ends unanswered requests that have one and the same timeout.

    They expire in the order in which they began, so one timer is enough. A request that ended
    otherwise, as by a cancellation, is removed at its timeout at the latest. Answers are not kept
    here: each may have a chunk of a body, and one request without an answer may be before many.
    """

    def __init__(self, seconds: float, waiting: dict[str, PendingAnswer]) -> None:
        self._seconds = seconds
        self._waiting = waiting
        self._begun: deque[tuple[float, str]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: str, loop: asyncio.AbstractEventLoop) -> None:
        """Start the timeout of a request that waits."""
        begun = self._begun
        while begun and self._has_ended(begun[0][1]):
            self._waiting.pop(begun.popleft()[1], None)
        begun.append((loop.time() + self._seconds, reply))
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        begun = self._begun
        while begun and (begun[0][0] <= now or self._has_ended(begun[0][1])):
            answer = self._waiting.pop(begun.popleft()[1], None)
            if answer is not None:
                _expire(answer, self._seconds)
        if begun:
            self._timer = loop.call_later(begun[0][0] - now, self._look, loop)

    def _has_ended(self, reply: str) -> bool:
        answer = self._waiting.get(reply)
        return answer is None or answer.done()


class Requests:
    """Requests over a link. A reconnect ends all requests, because their answers never come."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._prefix = ""
        self._waiting: dict[str, PendingAnswer] = {}
        self._patience: dict[float, _Patience] = {}

    async def start(self) -> None:
        """Subscribe; again for each new client."""
        self._link.on_reconnect(self._forget)
        await self._link.on_client(self._subscribe)

    async def _subscribe(self) -> None:
        self._forget()
        client = self._link.client
        self._prefix = client.new_inbox() + "."
        await client.listen(self._prefix + "*", self._answered)

    def _answered(self, message: Incoming) -> None:
        waiting = self._waiting.pop(message.subject, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def _forget(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SpoolUnavailable("the connection was lost"))
        self._waiting.clear()

    async def ask_api(
        self, what: str, request: Mapping[str, object], *, timeout: float = 5.0
    ) -> dict[str, Any]:
        """Return the answer of JetStream's API, which may be an error; raises as `send` does."""
        subject = f"{self._link.api}.{what}"
        answer = await self.send(subject, json.dumps(request).encode(), timeout=timeout)
        said: dict[str, Any] = json.loads(answer.data)
        return said

    async def send(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Incoming:
        """
        Return the answer to one request.

        Raises NoResponders when nobody serves the subject. Raises SpoolUnavailable when no answer
        came within `timeout` seconds or the connection was lost: then it is unknown whether the
        request was processed.
        """
        answer = self.begin(subject, payload, headers=headers, timeout=timeout)
        return checked(await answer)

    def begin(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> PendingAnswer:
        """
        Write a request and return the future of its answer; pass the answer to `checked`.

        Raises NoResponders if the request cannot be written.
        """
        reply = f"{self._prefix}{secrets.token_hex(8)}"
        header = header_of(headers) if headers else b""
        try:
            self._link.client.post(subject, payload, reply=reply, header=header)
        except OSError as error:  # there is no connection, so it is certainly not processed
            raise NoResponders(str(error)) from error
        loop = asyncio.get_running_loop()
        answer = self._waiting[reply] = loop.create_future()
        patience = self._patience.get(timeout)
        if patience is None and len(self._patience) < _PATIENCES:
            patience = self._patience[timeout] = _Patience(timeout, self._waiting)
        if patience is None:  # the rest of a deadline, which no other request shares
            patience = _Patience(timeout, self._waiting)
        patience.add(reply, loop)
        return answer


def is_refused(message: Incoming) -> bool:
    """Whether an answer says that nobody serves the subject."""
    return bool(message.header) and message.status == NO_RESPONDERS


def checked(message: Incoming) -> Incoming:
    """Return an answer; NoResponders when it says that nobody serves the subject."""
    if is_refused(message):
        raise NoResponders("the stream has no leader")
    return message


def _expire(answer: PendingAnswer, timeout: float) -> None:
    if not answer.done():
        answer.set_exception(SpoolUnavailable(f"no answer in {timeout:g} s"))
