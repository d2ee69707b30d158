"""
How full the queue's storage is: ingress refuses at 80 %, so that the rest is there for settling.

How much is used JetStream tells; how much there is, only its configuration knows, so whoever
provisions writes it down. Asked every few seconds, what this process has published since is added
to the answer: a burst can fill a small volume between two looks. An unanswered question changes
nothing.
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

    def __init__(self, link: NatsLink, *, copies: int) -> None:
        self._link = link
        self._copies = copies  # of everything: JetStream counts each
        self._watching: asyncio.Task[None] | None = None
        self._limit = 0  # octets, 0 when it is not known
        self._used = 0  # octets, as of the last look
        self._published = 0  # octets this process had published by then
        self._was_near = False

    @property
    def near_full(self) -> bool:
        """Whether new mail should be refused."""
        share = _AGAIN if self._was_near else _NEAR
        used = self._used + max(0, self._out() - self._published) * self._copies
        return self._limit > 0 and used >= self._limit * share

    def _out(self) -> int:
        return int(self._link.client.stats["out_bytes"])

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
        published = self._out()  # counted before the answer: rather too much than too little
        self._used = (await js.account_info()).storage or 0
        self._published = published
        self._limit = int(message.data or b"0")
        self._was_near = self.near_full
