"""
Which generation each process of the data plane has in force, read from the processes' sessions.

The sessions also tell which streams of the queue take no records.

The sessions are read every few seconds, because processes come and go, and several times a second
while a publication is not in force everywhere yet. If there is no session at all, that is believed
only after some seconds: NATS servers that were all down have lost the sessions, and each process
writes its own again.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta

from postroad.operator.configuration.publisher import ConfigurationPublisher
from postroad.operator.status.reconcile import DATA_PLANE, Serving
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger

PATIENCE = timedelta(seconds=5)  # within this time, a publication is usually in force everywhere
_OFTEN = 0.15  # seconds
_SELDOM = 3.0
_BELIEVED_AFTER = 7.0  # seconds: sessions are written every three

log = get_logger(__name__)


class Acknowledgements:
    """
    `serving` is None while the sessions cannot be read.

    `refusing` has the streams of the queue that some process finds refusing, and why.
    """

    def __init__(
        self, spool: Spool, publisher: ConfigurationPublisher, changed: Callable[[], None]
    ) -> None:
        self.serving: tuple[Serving, ...] | None = None
        self.refusing: Mapping[str, str] = {}
        self._spool = spool
        self._publisher = publisher
        self._changed = changed
        self._published = asyncio.Event()
        self._empty_since: float | None = None
        self._loop = asyncio.get_running_loop()

    def look(self) -> None:
        """Read the sessions soon: something was published."""
        self._published.set()

    @property
    def patient(self) -> bool:
        """Whether the last publication is so recent that acknowledgements are still expected."""
        past = self._loop.time() - self._publisher.published_at
        return past < PATIENCE.total_seconds()

    async def run(self) -> None:
        """Read the sessions at intervals, until cancelled."""
        waited = False
        while True:
            before = self.serving, self.refusing.keys()
            self.serving = self._believed(await self._read())
            waiting = self.patient and not self._all_in_force()
            if (self.serving, self.refusing.keys()) != before or (waited and not waiting):
                self._changed()
            waited = waiting
            await self._pause(_OFTEN if waiting else _SELDOM)

    def _believed(self, found: tuple[Serving, ...] | None) -> tuple[Serving, ...] | None:
        if found != () or not self.serving:
            self._empty_since = None
            return found
        now = self._loop.time()
        self._empty_since = now if self._empty_since is None else self._empty_since
        return found if now - self._empty_since >= _BELIEVED_AFTER else self.serving

    async def _pause(self, seconds: float) -> None:
        self._published.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._published.wait()
            await asyncio.sleep(_OFTEN)
        except TimeoutError:
            return

    def _all_in_force(self) -> bool:
        serving = [each for each in self.serving or () if each.generation > 0]
        newest = max(self._publisher.generations.values(), default=0)
        return bool(serving) and all(s.generation >= newest and not s.stale for s in serving)

    async def _read(self) -> tuple[Serving, ...] | None:
        try:
            sessions = await self._spool.sessions.live()
        except SpoolError as error:
            log.debug("the sessions cannot be read", error=str(error))
            return None
        self.refusing = dict(sorted(each for info in sessions for each in info.refusing))
        found = [
            Serving(s.process, s.generation, s.stale) for s in sessions if s.role in DATA_PLANE
        ]
        return tuple(sorted(found, key=lambda each: each.process))
