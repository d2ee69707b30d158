"""
From what is declared to what is in force: compile all of it, publish what differs.

Level-triggered: something changed is all that a trigger says, and every run works from everything
that is known. Changes that come together are taken together (a tenth of a second of quiet, half a
second at most). What is published when the operator starts is the last good form of every object,
so that one which went bad while nobody looked keeps what it had.

What is published is compared with what should be every minute, too: an operator that lost its Lease
in the middle of publishing may have left entries that no head tells of, and a process that starts
then would have no configuration until the next change.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta

from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Objects
from postroad.operator import metrics
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.kubernetes.client import KubeError
from postroad.policy.codec import EntryEncoder
from postroad.policy.model import Entry
from postroad.policy.secrets.seal import Keyring
from postroad.policy.snapshot import SnapshotLoader
from postroad.process.background.backoff import Backoff
from postroad.spool.errors import RecordTooLarge, SpoolError
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger

QUIET = timedelta(milliseconds=100)
AT_MOST = timedelta(milliseconds=500)
REPAIR = timedelta(minutes=1)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))

log = get_logger(__name__)


class ConfigurationPublisher:
    """
    Compiles and publishes whenever `wake` is called; `changed` tells that there is news.

    `compiled` is the last outcome; `generations` tells for each of its entries in which generation
    it is published, and lacks those that are not yet.
    """

    def __init__(
        self,
        store: Store,
        informer: Informer,
        spool: Spool,
        keyring: Keyring,
        changed: Callable[[], None],
        *,
        repair: timedelta = REPAIR,
    ) -> None:
        self.compiled = Compiled()
        self.generations: dict[str, int] = {}
        self.published_at = float("-inf")
        self._store = store
        self._informer = informer
        self._spool = spool
        self._keyring = keyring
        self._changed = changed
        self._repair = repair.total_seconds()
        self._last_good: Mapping[str, Entry] = {}
        self._encoder = EntryEncoder(keyring)
        self._compiled_once = False
        self._dirty = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Look at everything again soon."""
        self._dirty.set()

    async def start(self) -> None:
        """Read what is published now; SpoolError when the queue does not answer."""
        last = await self._spool.config.last()
        if last is None:
            return
        loaded = await asyncio.to_thread(
            SnapshotLoader(self._keyring).load, last.generation, last.entries
        )
        for key, reason in loaded.unreadable.items():
            log.error("a published object cannot be read", objects=key, reason=reason)
        self._last_good = loaded.entries
        self.generations = dict.fromkeys(loaded.entries, last.generation)

    async def run(self) -> None:
        """Compile and publish what changes, until cancelled."""
        failures = 0
        while True:
            dirty = await self._wait()
            try:
                if dirty:
                    await self._settle()
                    with metrics.RECONCILE_SECONDS.time():
                        await self._publish()
                else:
                    await self._mend()
                failures = 0
            except RecordTooLarge as error:
                # The same again would be refused again: the next change is waited for.
                metrics.ERRORS.labels("publish").inc()
                log.error("the configuration is not published until it changes", error=str(error))
            except (SpoolError, KubeError) as error:
                metrics.ERRORS.labels("publish").inc()
                log.warning("the configuration is not published for now", error=str(error))
                if not dirty:
                    continue  # it is looked at again in a minute
                self._dirty.set()
                failures += 1
                await asyncio.sleep(_BACKOFF.seconds(failures, random))

    async def _wait(self) -> bool:
        """Wait until something is to be compiled, or False when it is time to mend."""
        try:
            async with asyncio.timeout(self._repair):
                await self._dirty.wait()
        except TimeoutError:
            return False
        return True

    async def _mend(self) -> None:
        """Publish again what is published: nothing is written when it is there as it should be."""
        if self._compiled_once:
            metrics.GENERATION.set(await self._spool.config.publish(self._encoder.last))

    async def _settle(self) -> None:
        """Wait until nothing more comes, for a moment."""
        deadline = self._loop.time() + AT_MOST.total_seconds()
        while self._dirty.is_set() and self._loop.time() < deadline:
            self._dirty.clear()
            await asyncio.sleep(QUIET.total_seconds())
        self._dirty.clear()

    async def _publish(self) -> None:
        await self._informer.fetch_missing_secrets()
        objects = self._store.snapshot()
        compiled, entries = await asyncio.to_thread(self._compile, objects)
        self._compiled_once = True
        known = self._last_good
        self.generations = {
            key: generation
            for key, generation in self.generations.items()
            if key in compiled.entries and known.get(key) == compiled.entries[key]
        }
        self.compiled = compiled
        self.published_at = self._loop.time()
        self._changed()
        generation = await self._spool.config.publish(entries)
        if any(key not in self.generations for key in entries) or len(known) != len(entries):
            log.info("configuration published", generation=generation, count=len(entries))
        self.generations = dict.fromkeys(entries, generation) | self.generations
        self.published_at = self._loop.time()
        self._last_good = compiled.entries
        metrics.GENERATION.set(generation)
        self._changed()

    def _compile(self, objects: Objects) -> tuple[Compiled, dict[str, bytes]]:
        compiled = compile_objects(
            objects,
            keyring=self._keyring,
            last_good=self._last_good,
            largest_entry=self._spool.config.largest_entry,
        )
        return compiled, self._encoder.encode(compiled.entries)
