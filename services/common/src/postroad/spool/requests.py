"""
Many requests at once on one subscription: publishes, acknowledgements, leases.

nats-py's own request costs about 60 µs, most of it in its general ways of making inboxes and tasks.
Here a request is a number and a future: one write, one dictionary entry, and the answer's callback
sets the result.
"""

import asyncio
import itertools
from collections.abc import Mapping

import nats.errors
from nats.aio.msg import Msg

from postroad.spool.connection import NatsLink
from postroad.spool.errors import SpoolUnavailable

NO_RESPONDERS = "503"


class NoResponders(SpoolUnavailable):
    """Nobody serves the subject: the request was certainly not taken."""


class Requests:
    """Requests over a link; answers of before a reconnect never come, so their requests end."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._prefix = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}

    async def start(self) -> None:
        """Subscribe; again for each new client."""
        self._link.on_reconnect(self._forget)
        await self._link.on_client(self._subscribe)

    async def _subscribe(self) -> None:
        self._forget()
        client = self._link.client
        self._prefix = client.new_inbox() + "."
        await client.subscribe(self._prefix + "*", cb=self._answered)

    async def _answered(self, message: Msg) -> None:
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
    ) -> Msg:
        """
        Return the answer to one request.

        NoResponders when nobody is there, SpoolUnavailable when no answer came in `timeout` seconds
        or the connection was lost: then it is open whether the request was taken.
        """
        return await answered(await self.begin(subject, payload, headers=headers), timeout)

    async def begin(
        self, subject: str, payload: bytes = b"", *, headers: Mapping[str, str] | None = None
    ) -> "asyncio.Future[Msg]":
        """Write a request and return the future of its answer; SpoolUnavailable if it cannot be."""
        reply = f"{self._prefix}{next(self._numbers)}"
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        if not self._link.connected:
            raise NoResponders("not connected to NATS")
        self._waiting[reply] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(reply, None))
        try:
            await self._link.client.publish(
                subject, payload, reply=reply, headers=dict(headers) if headers else None
            )
        except (nats.errors.Error, OSError, ValueError) as error:
            answer.cancel()
            raise SpoolUnavailable(f"cannot write to NATS: {error}") from error
        return answer


async def answered(answer: "asyncio.Future[Msg]", timeout: float) -> Msg:
    """Wait for the answer to a request that was begun; errors as of `send`."""
    # A timer on the future itself: asyncio.timeout costs as much as the rest of a request.
    timer = asyncio.get_running_loop().call_later(timeout, _expire, answer, timeout)
    try:
        message = await answer
    finally:
        timer.cancel()
    if message.headers is not None and message.headers.get("Status") == NO_RESPONDERS:
        raise NoResponders("the stream has no leader")
    return message


def _expire(answer: "asyncio.Future[Msg]", timeout: float) -> None:
    if not answer.done():
        answer.set_exception(SpoolUnavailable(f"no answer in {timeout:g} s"))
