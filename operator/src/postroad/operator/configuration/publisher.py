"""
Compiles all declared objects, and publishes those that have changed.

It is level-triggered: a trigger only says that something has changed, and every run compiles all
objects. Changes that come together are published together: it waits for a tenth of a second without
a change, half a second at most. The configuration that is published when the operator starts is the
last good form of every object. So an object that became invalid while no operator ran stays in
force.

Every minute, the published entries are also compared with what they should be. An operator that
lost its Lease while it published may have left entries that the head does not list. A process that
starts then would have no configuration until the next change.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta

from postroad.manifests.compiler.claims import Claims
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Kind, Objects
from postroad.operator import metrics
from postroad.operator.cache.informer import Informer
from postroad.operator.cache.store import Store
from postroad.operator.configuration.password_hashing import AT_ONCE, PasswordHashing
from postroad.operator.kubernetes.client import KubeError
from postroad.policy.codec import EntryEncoder
from postroad.policy.model import Entry
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.policy.snapshot import SnapshotLoader
from postroad.process.background.backoff import Backoff
from postroad.spool.agreement import ConfigState
from postroad.spool.errors import RecordTooLarge, SpoolError
from postroad.spool.interface import Spool
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

QUIET = timedelta(milliseconds=100)
AT_MOST = timedelta(milliseconds=500)
REPAIR = timedelta(minutes=1)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))

log = get_logger(__name__)


class ConfigurationPublisher:
    """
    Compiles and publishes whenever `wake` is called, and calls `changed` after each result.

    `compiled` is the last result of the compiler. `generations` has, for each of its entries that
    is published, the generation in which it was published. `claims` is asked before it compiles.
    One compilation hashes `hashed_at_once` new passwords.
    """

    def __init__(
        self,
        store: Store,
        informer: Informer,
        spool: Spool,
        keyrings: Keyrings,
        changed: Callable[[], None],
        *,
        claims: Callable[[], Claims],
        replicated: Layout | None = None,
        pools: Collection[str] = (),
        repair: timedelta = REPAIR,
        hashed_at_once: int = AT_ONCE,
    ) -> None:
        self.compiled = Compiled()
        self.generations: dict[str, int] = {}
        self.published_at = float("-inf")
        self._store = store
        self._informer = informer
        self._spool = spool
        self._keyrings = keyrings
        self._changed = changed
        self._claims = claims
        self._replicated = replicated
        self._pools = pools
        self._repair = repair.total_seconds()
        self._last_good: Mapping[str, Entry] = {}
        self._encoder = EntryEncoder(keyrings)
        self._hashed_at_once = hashed_at_once
        self._verifiers = self._verifiers_of(())
        self._hashing = PasswordHashing(self.wake)
        self._compiled_once = False
        self._dirty = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def published(self) -> Mapping[str, Entry]:
        """What is published, by the keys of entries, as far as it can be read."""
        return self._last_good

    def wake(self) -> None:
        """Compile everything again soon."""
        self._dirty.set()

    async def read_published(self) -> None:
        """Read what is published now, retrying until the queue answers."""
        last = await self._last()
        if last is None:
            return
        loaded = await asyncio.to_thread(
            SnapshotLoader(self._keyrings).load, last.generation, last.entries
        )
        for key, reason in loaded.unreadable.items():
            log.error("a published object cannot be read", objects=key, reason=reason)
        self._last_good = loaded.entries
        self._verifiers = self._verifiers_of(loaded.entries.values())
        self.generations = dict.fromkeys(loaded.entries, last.generation)

    async def run(self) -> None:
        """Compile and publish after each change, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hashing.run())
            await self._run()

    async def _run(self) -> None:
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
                # A retry would be refused again: wait for the next change.
                metrics.ERRORS.labels("publish").inc()
                log.error("the configuration is not published until it changes", error=str(error))
            except (SpoolError, KubeError) as error:
                metrics.ERRORS.labels("publish").inc()
                log.warning("the configuration is not published for now", error=str(error))
                if not dirty:
                    continue  # it is tried again in a minute
                self._dirty.set()
                failures += 1
                await asyncio.sleep(_BACKOFF.seconds(failures, random))

    async def _last(self) -> ConfigState | None:
        failures = 0
        while True:
            try:
                return await self._spool.config.last()
            except SpoolError as error:
                failures += 1
                log.warning("what is published cannot be read yet", error=str(error))
                await asyncio.sleep(_BACKOFF.seconds(failures, random))

    async def _wait(self) -> bool:
        """Wait until something is to be compiled; False if it is time to repair instead."""
        try:
            async with asyncio.timeout(self._repair):
                await self._dirty.wait()
        except TimeoutError:
            return False
        return True

    async def _mend(self) -> None:
        """Publish the same configuration again; entries that are right are not written."""
        if self._compiled_once:
            metrics.GENERATION.set(await self._spool.config.publish(self._encoder.last))

    async def _settle(self) -> None:
        """Wait for a short time without further changes."""
        deadline = self._loop.time() + AT_MOST.total_seconds()
        while self._dirty.is_set() and self._loop.time() < deadline:
            self._dirty.clear()
            await asyncio.sleep(QUIET.total_seconds())
        self._dirty.clear()

    async def _publish(self) -> None:
        await self._informer.fetch_missing_secrets()
        objects = self._store.snapshot()
        compiled, entries = await asyncio.to_thread(self._compile, objects, self._claims())
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
        self._hashing.look(self._verifiers)
        metrics.GENERATION.set(generation)
        self._changed()

    def _verifiers_of(self, published: Iterable[Entry]) -> Verifiers:
        return Verifiers(
            self._keyrings[Reader.INGRESS], published=published, at_once=self._hashed_at_once
        )

    def _compile(self, objects: Objects, claims: Claims) -> tuple[Compiled, dict[str, bytes]]:
        compiled = compile_objects(
            objects,
            keyrings=self._keyrings,
            last_good=self._last_good,
            verifiers=self._verifiers,
            largest_entry=self._spool.config.largest_entry,
            claims=claims,
            replicated=self._replicated,
            pools=self._pools,
        )
        self._verifiers.keep(
            each.reference.key for each in objects.declared if each.reference.kind is Kind.CLIENT
        )
        return compiled, self._encoder.encode(compiled.entries)
