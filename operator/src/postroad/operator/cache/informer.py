"""
Keeps the store current: full lists at the start and from time to time, watch events in between.

The operator lists all objects itself before it watches. Only so does it know when it has seen every
object once; then it may remove published objects that are no longer declared. It lists again half a
minute after the start, for objects that were deleted before the watch began. After that it lists
about every ten minutes, because a watch may miss an event without a sign.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from postroad.manifests.objects import Kind, Reference
from postroad.operator import metrics
from postroad.operator.cache.store import Store
from postroad.operator.kubernetes.client import (
    NAMESPACES_PATH,
    ApiRefused,
    Kube,
    KubeError,
    kind_path,
    secret_path,
)
from postroad.policy.model import ObjectKey
from postroad.process.background.backoff import Backoff
from postroad.telemetry.logs import get_logger

_FIRST_RESYNC = timedelta(seconds=30)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=10))
_SECRETS_AT_ONCE = 8
_SECRETS_AGAIN = timedelta(seconds=5)

log = get_logger(__name__)


class Informer:
    """
    Keeps a store current.

    `declared` is called when something to compile has changed. `told` is called with an object when
    its status may have changed, and with None when any status may have.
    """

    def __init__(
        self,
        kube: Kube,
        store: Store,
        *,
        namespaces: Sequence[str],
        resync: timedelta,
        declared: Callable[[], None],
        told: Callable[[Reference | None], None],
    ) -> None:
        self._kube = kube
        self._store = store
        self._namespaces = namespaces
        self._resync = resync.total_seconds()
        self._declared = declared
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._soon = asyncio.Event()
        self._last_event = self._last_list = self._loop.time()
        metrics.WATCH_SECONDS.set_function(lambda: self._loop.time() - self._last_event)
        metrics.LIST_SECONDS.set_function(lambda: self._loop.time() - self._last_list)

    def event(self, kind: str, type_: str | None, raw: dict[str, Any]) -> None:
        """Pass on an event of the watch."""
        self._last_event = self._loop.time()
        deleted = type_ == "DELETED"
        metadata = raw.get("metadata") or {}
        name = str(metadata.get("name", ""))
        if kind == "Secret":
            key = ObjectKey(str(metadata.get("namespace", "")), name)
            changed = self._store.secrets.event(key, raw, deleted=deleted)
        elif kind == "Namespace":
            changed = self._store.namespaces.event(raw, deleted=deleted)
        else:
            changed = self._store.event(Kind(kind), raw, deleted=deleted)
            if not changed:
                key = ObjectKey(str(metadata.get("namespace", "")), name)
                self._told(Reference(Kind(kind), key))
        if changed:
            self._declared()

    async def list_first(self) -> None:
        """List everything, retrying until it succeeds."""
        for failures in itertools.count(1):
            try:
                await self.list_all()
                return
            except KubeError as error:
                metrics.ERRORS.labels("list").inc()
                log.warning("the objects cannot be listed for now", error=str(error))
                await asyncio.sleep(_BACKOFF.seconds(failures, random))

    async def run(self) -> None:
        """List everything at intervals, until cancelled."""
        await self._pause(_FIRST_RESYNC.total_seconds())
        while True:
            try:
                await self.list_all()
                await self._fetch(self._store.secrets.names)
            except KubeError as error:
                metrics.ERRORS.labels("list").inc()
                log.warning("the objects cannot be listed for now", error=str(error))
                await self._pause(random.uniform(5, 15))
                continue
            await self._pause(self._resync * random.uniform(0.8, 1.2))

    def list_soon(self) -> None:
        """List everything now: events may have been missed."""
        self._soon.set()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        self._soon.clear()

    async def fetch_missing_secrets(self) -> None:
        """
        Read the Secrets that objects name and that were not read yet.

        A Secret that cannot be read delays only the object that names it: that object keeps its
        last good form. The Secret is read again a few seconds later.
        """
        failed: frozenset[ObjectKey] = frozenset()
        while missing := [key for key in self._store.secrets.missing() if key not in failed]:
            failed |= await self._fetch(missing)
        if failed:
            self._loop.call_later(_SECRETS_AGAIN.total_seconds(), self._declared)

    async def list_all(self) -> None:
        """List everything once; KubeError if a list is refused or not answered."""
        # The changes in each list are reported at once, because the next list may fail.
        for kind in Kind:
            for namespace in self._namespaces or (None,):
                listing = self._store.begin_listing(kind)
                async for raw in self._kube.list(kind_path(kind, namespace)):
                    self._store.add(listing, raw)
                if self._store.end_listing(listing, (namespace,) if namespace else ()):
                    self._declared()
            self._store.listed(kind)
        await self._list_namespaces()
        self._last_list = self._loop.time()
        self._told(None)

    async def _list_namespaces(self) -> None:
        asked = self._store.now
        try:
            found = [raw async for raw in self._kube.list(NAMESPACES_PATH, metadata_only=True)]
        except ApiRefused as error:
            # Only selectors need labels. With a selector, unknown labels would withdraw consents,
            # and so remove objects that are in force.
            if error.status != 403 or self._store.selects:
                raise
            log.warning("namespaces cannot be listed", error=str(error))
        else:
            if self._store.namespaces.listed(found, asked=asked):
                self._declared()
        if self._store.listed("Namespace"):
            self._declared()

    async def _fetch(self, keys: Iterable[ObjectKey]) -> frozenset[ObjectKey]:
        """Read Secrets; return those that cannot be read for now."""
        free = asyncio.Semaphore(_SECRETS_AT_ONCE)
        failed = set()

        async def fetch(key: ObjectKey) -> bool:
            async with free:
                asked = self._store.now
                try:
                    found = await self._secret(key)
                except KubeError as error:
                    metrics.ERRORS.labels("list").inc()
                    log.warning("a Secret cannot be read", object=str(key), error=str(error))
                    failed.add(key)
                    return False
                return self._store.secrets.read(key, found, asked=asked)

        if any(await asyncio.gather(*(fetch(key) for key in sorted(keys)))):
            self._declared()
        return frozenset(failed)

    async def _secret(self, key: ObjectKey) -> Mapping[str, Any] | None:
        try:
            return await self._kube.request("GET", secret_path(key))
        except ApiRefused as error:
            if error.status == 403:
                log.error("a Secret may not be read", object=str(key), error=str(error))
            return None
