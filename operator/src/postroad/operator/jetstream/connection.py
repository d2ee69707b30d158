"""The operator's connection to the queue: one that counts while it stands by, one to lead."""

import asyncio
import random
from contextlib import suppress
from datetime import timedelta

from postroad.operator.jetstream.backlog import BacklogCounts
from postroad.operator.jetstream.provisioning import left_out
from postroad.process.background.backoff import Backoff
from postroad.process.lifecycle import Process
from postroad.spool.errors import SpoolError, SpoolUnavailable
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

_REOPENED_EVERY = timedelta(minutes=10)
_CLOSES_IN = timedelta(seconds=3)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))

log = get_logger(__name__)


class QueueConnection:
    """Opens the queue, and opens it anew when this process begins to lead; says why it is away."""

    def __init__(self, options: SpoolOptions, backlog: BacklogCounts, wanted: Layout) -> None:
        self.options = options
        self._backlog = backlog
        self._wanted = wanted
        self._spool: JetStreamSpool | None = None
        self._standing_by: asyncio.Task[object] | None = None

    def count_while_standing_by(self, process: Process) -> None:
        """Count the backlog until this process leads."""
        self._standing_by = process.spawn("standing by", self._count())

    async def open_to_lead(self, process: Process) -> Spool:
        """Open the queue, retrying until it answers, and count the backlog there."""
        if self._standing_by is not None:
            self._standing_by.cancel()
            await asyncio.wait((self._standing_by,), timeout=_CLOSES_IN.total_seconds())
        spool = await self._open()
        process.on_stop("queue", spool.close)
        process.spawn("backlog", self._backlog.run(spool))
        return spool

    def why_away(self) -> str | None:
        """Return why the queue cannot be used, None if it can."""
        if self._spool is None:
            return "the queue is not open yet"
        refusal = self._spool.refusal()
        # A full queue still takes a configuration.
        return str(refusal) if isinstance(refusal, SpoolUnavailable) else None

    def why_left_out(self) -> str | None:
        """Return which shards of the queue the settings leave out, None if they leave out none."""
        return left_out(self._spool.layout, self._wanted) if self._spool is not None else None

    async def _open(self) -> JetStreamSpool:
        failures = 0
        while True:
            try:
                self._spool = await connect(self.options)
                return self._spool
            except SpoolError as error:
                failures += 1
                log.warning("the queue cannot be opened yet", error=str(error))
                await asyncio.sleep(_BACKOFF.seconds(failures, random))

    async def _count(self) -> None:
        # Opened again from time to time: the leader may have added shards.
        while True:
            spool = await self._open()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_REOPENED_EVERY.total_seconds()):
                        await self._backlog.run(spool)
            finally:
                await spool.close()
