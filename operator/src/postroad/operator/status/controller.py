"""
Works out the statuses of objects when a fact has changed, and passes them to the writer.

There is one loop for all objects instead of a timer for each. Working out thousands of statuses
takes a tenth of a second, and only those that differ are written.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from postroad.manifests.objects import Kind, Reference
from postroad.operator import metrics
from postroad.operator.cache.store import CachedObject, Store
from postroad.operator.status.conditions import Truth, Type, find
from postroad.operator.status.reconcile import Facts, desired
from postroad.operator.status.writer import StatusWriter

_QUIET = 0.05  # seconds
_AT_A_TIME = 100  # objects between two turns of the event loop


class StatusController:
    """`facts` returns the facts as they are now."""

    def __init__(self, store: Store, statuses: StatusWriter, facts: Callable[[], Facts]) -> None:
        self._store = store
        self._statuses = statuses
        self._facts = facts
        self._changed = asyncio.Event()
        self._touched: set[Reference] = set()
        self._all = False

    def wake(self, reference: Reference | None = None) -> None:
        """Work out one object's status again soon, or all statuses."""
        if reference is None:
            self._all = True
        else:
            self._touched.add(reference)
        self._changed.set()

    async def run(self) -> None:
        """Work out statuses until cancelled."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(_QUIET)
            self._changed.clear()
            # Each written status comes back as an event about one object: handle only that one.
            everybody, touched = self._all, self._touched
            self._all, self._touched = False, set()
            facts, now = self._facts(), datetime.now(UTC)
            if everybody:
                await self._judge_all(facts, now)
                continue
            for reference in touched:
                known = self._store.objects.get(reference)
                if known is not None:
                    await self._status(known, facts, now)

    async def _judge_all(self, facts: Facts, now: datetime) -> None:
        counts = {(kind, ready): 0 for kind in Kind for ready in ("true", "false")}
        for number, known in enumerate(list(self._store.objects.values())):
            status = await self._status(known, facts, now)
            counts[known.reference.kind, _readiness(status)] += 1
            if number % _AT_A_TIME == _AT_A_TIME - 1:
                await asyncio.sleep(0)
        for (kind, ready), count in counts.items():
            metrics.OBJECTS.labels(kind, ready).set(count)

    async def _status(self, known: CachedObject, facts: Facts, now: datetime) -> Mapping[str, Any]:
        """Pass an object's status to the writer if it has changed; return the status."""
        previous = self._statuses.latest(known)
        status = desired(known.declared, previous, facts, now)
        if status is None:
            return previous
        await self._statuses.want(known, status)
        return status


def _readiness(status: Mapping[str, Any]) -> str:
    ready = find(status, Type.READY)
    return "true" if ready is not None and ready.get("status") == Truth.TRUE else "false"
