"""
Many requests at once on one subscription: publishes, acknowledgements, leases.

A request is a number and a future: one write, one dictionary entry, and the answer sets the result.
nats-py's own costs about 60 µs, most of it in its general ways of making inboxes and tasks.
"""

import asyncio
import itertools
from collections.abc import Mapping
from functools import partial

from postroad.spool.connection import NatsLink
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.fast_client import Incoming, header_of

NO_RESPONDERS = "503"

Answer = asyncio.Future[Incoming]


class NoResponders(SpoolUnavailable):
    """Nobody serves the subject: the request was certainly not taken."""


class Requests:
    """Requests over a link; answers of before a reconnect never come, so their requests end."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._prefix = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, Answer] = {}

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

        NoResponders when nobody is there, SpoolUnavailable when no answer came in `timeout` seconds
        or the connection was lost: then it is open whether the request was taken.
        """
        return await answered(self.begin(subject, payload, headers=headers), timeout)

    def begin(
        self, subject: str, payload: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Write a request and return the future of its answer; SpoolUnavailable if it cannot be."""
        if not self._link.connected:
            raise NoResponders("not connected to NATS")
        reply = f"{self._prefix}{next(self._numbers)}"
        header = header_of(headers) if headers else b""
        try:
            self._link.client.post(subject, payload, reply=reply, header=header)
        except OSError as error:
            raise SpoolUnavailable(f"cannot write to NATS: {error}") from error
        answer = self._waiting[reply] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(partial(self._end, reply))
        return answer

    def _end(self, reply: str, _: Answer) -> None:
        self._waiting.pop(reply, None)


async def answered(answer: Answer, timeout: float) -> Incoming:
    """Wait for the answer to a request that was begun; errors as of `send`."""
    # A timer on the future itself: asyncio.timeout costs as much as the rest of a request.
    timer = asyncio.get_running_loop().call_later(timeout, _expire, answer, timeout)
    try:
        message = await answer
    finally:
        timer.cancel()
    if message.header and message.status == NO_RESPONDERS:
        raise NoResponders("the stream has no leader")
    return message


def _expire(answer: Answer, timeout: float) -> None:
    if not answer.done():
        answer.set_exception(SpoolUnavailable(f"no answer in {timeout:g} s"))
