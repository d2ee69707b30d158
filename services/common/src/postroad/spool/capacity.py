"""
How full the queue's storage is: ingress refuses at 80 %, so that the rest is there for settling.

How much is used JetStream tells; how much there is, only its configuration knows, so whoever
provisions writes it down. Asked every few seconds; an unanswered question changes nothing.
"""

import asyncio

import nats.errors
import nats.js.errors

from postroad.spool.cancellation import heed_cancellation
from postroad.spool.connection import NatsLink
from postroad.spool.provision import CAPACITY_KEY

_INTERVAL = 3.0  # seconds
_NEAR = 0.80
_AGAIN = 0.75  # below which mail is taken again, so that the answer does not flicker


class Capacity:
    """Watches how much of the account's storage is used."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._watching: asyncio.Task[None] | None = None
        self.near_full = False

    def start(self) -> None:
        """Look from now on, at once first."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking."""
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError):
                heed_cancellation()  # else the connection says that the queue is away
            await asyncio.sleep(_INTERVAL)

    async def _look(self) -> None:
        js = self._link.jetstream
        try:
            message = await js.get_last_msg("KV_cluster", f"$KV.cluster.{CAPACITY_KEY}")
        except nats.js.errors.NotFoundError:
            return  # nobody has said how much there is
        limit = int(message.data or b"0")
        used = (await js.account_info()).storage or 0
        if limit > 0:
            self.near_full = used >= limit * (_AGAIN if self.near_full else _NEAR)
