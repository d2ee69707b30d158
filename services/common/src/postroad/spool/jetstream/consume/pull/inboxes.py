"""
The inboxes of a process's lanes: where the servers send what its pull requests ask for.

Each lane has one, so that leaving a lane ends its requests and no others. A single server drops a
request whose inbox is gone. Of several servers only the one that the process is connected to sees
that: the others know the process by the import of its account, and send records to nobody. They
come again only when their leases have run out. So there an inbox stays open for as long as the
requests of a lane that was left may stand, and what comes is given back.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import nats.errors

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.jetstream.consume.pull.lane_pull import STANDS
from postroad.spool.jetstream.nats.client import Listening
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_ON_ITS_WAY = 0.5  # seconds that a record may take to an inbox


@dataclass(frozen=True, slots=True)
class Inbox:
    """The subjects that begin with `prefix`."""

    prefix: str
    subscription: Listening


class Inboxes:
    """The inboxes of all lanes; `receive` gets what comes, of lanes that were left too."""

    def __init__(self, link: NatsLink, receive: Callable[[Incoming], None]) -> None:
        self._link = link
        self._receive = receive
        self._of: dict[LaneKey, Inbox] = {}
        self._closing = BackgroundTasks(INTERNAL_ERRORS)

    def of(self, key: LaneKey) -> Inbox | None:
        """Return a lane's inbox, None if it has none."""
        return self._of.get(key)

    def forget(self) -> None:
        """Forget all: they went with their connection."""
        self._of.clear()

    async def open(self, key: LaneKey, *, wanted: Callable[[], bool]) -> None:
        """Open a lane's inbox, unless it is not wanted any more, or another task has done so."""
        client = self._link.client
        prefix = client.new_inbox() + "."
        inbox = Inbox(prefix, await client.listen(prefix + "*", self._receive))
        if not wanted() or key in self._of:
            await _unsubscribe(inbox)
        else:
            self._of[key] = inbox

    async def leave(self, key: LaneKey, *, clustered: bool) -> None:
        """Close a lane's inbox; on several servers when no request of it stands any more."""
        inbox = self._of.pop(key, None)
        if inbox is None:
            return
        if clustered:
            self._closing.spawn(_close_later(inbox))
        else:
            await _unsubscribe(inbox)

    async def close(self) -> None:
        """Close all of them now."""
        await self._closing.cancel()
        for key in list(self._of):
            await self.leave(key, clustered=False)


async def _close_later(inbox: Inbox) -> None:
    await asyncio.sleep(STANDS + _ON_ITS_WAY)
    await _unsubscribe(inbox)


async def _unsubscribe(inbox: Inbox) -> None:
    try:
        await inbox.subscription.unsubscribe()
    except (nats.errors.Error, OSError, ValueError, RuntimeError) as error:
        # RuntimeError: nats-py writes to uvloop's transport, which is closed already.
        log.debug("a lane's inbox went with its connection", error=str(error))
