"""
Writes statuses and Events: the latest status of each object, several objects at a time.

A new status replaces an older one of the same object that still waits, and two writes of one object
never overlap. An Event is posted when a write has changed the condition Ready, so a restart repeats
no Event. Statuses go before Events. The number of waiting Events is bounded; the rest is dropped.
"""

import asyncio
import math
import random
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from postroad.manifests.objects import GROUP, VERSION, Reference
from postroad.operator import metrics
from postroad.operator.cache.store import CachedObject, Store
from postroad.operator.kubernetes.client import MANAGER, ApiRefused, Kube, KubeError
from postroad.operator.status.conditions import undated
from postroad.operator.status.reconcile import Transition, differs, transition
from postroad.process.background.backoff import Backoff
from postroad.telemetry.logs import get_logger

_AT_ONCE = 16
_EVENTS_AT_ONCE = 4
_EVENTS_WAITING = 5000
_LONGEST_NOTE = 1000  # octets; the API server's own limit is 1 kB
_GONE = frozenset({404, 409})
# An API server that has just started may refuse for a moment what its rules allow.
_FORBIDDEN = 403
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=10))

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    uid: str
    status: Mapping[str, Any]


class StatusWriter:
    """The statuses on their way to the API server."""

    def __init__(self, kube: Kube, store: Store, *, instance: str) -> None:
        self._kube = kube
        self._store = store
        self._instance = instance
        self._waiting: OrderedDict[Reference, _Wanted] = OrderedDict()
        self._writing: dict[Reference, _Wanted] = {}
        self._refused: dict[Reference, tuple[str, Mapping[str, Any]]] = {}
        self._events: deque[tuple[CachedObject, Transition]] = deque(maxlen=_EVENTS_WAITING)
        self._work = asyncio.Condition()
        self._failures = 0
        metrics.STATUS_WAITING.set_function(lambda: len(self._waiting) + len(self._writing))

    def latest(self, known: CachedObject) -> Mapping[str, Any]:
        """Return an object's status as it will be once all waiting writes are done."""
        for wanted in (self._waiting.get(known.reference), self._writing.get(known.reference)):
            if wanted is not None and wanted.uid == known.uid:
                return {**known.status, **wanted.status}
        return known.status

    async def want(self, known: CachedObject, status: Mapping[str, Any]) -> None:
        """Write a status soon, if it differs from the latest one."""
        if not differs(status, self.latest(known)):
            return
        if self._refused.get(known.reference) == (known.uid, undated(status)):
            return
        async with self._work:
            self._waiting[known.reference] = _Wanted(known.uid, status)
            self._work.notify_all()

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._write_on())
            for _ in range(_EVENTS_AT_ONCE):
                group.create_task(self._post_on())

    async def _write_on(self) -> None:
        while True:
            async with self._work:
                await self._work.wait_for(lambda: self._next() is not None)
                reference = self._next()
                assert reference is not None
                wanted = self._waiting.pop(reference)
                self._writing[reference] = wanted
            try:
                await self._write(reference, wanted)
            finally:
                async with self._work:
                    del self._writing[reference]
                    self._work.notify_all()

    def _next(self) -> Reference | None:
        return next((ref for ref in self._waiting if ref not in self._writing), None)

    async def _write(self, reference: Reference, wanted: _Wanted) -> None:
        known = self._store.objects.get(reference)
        if known is None or known.uid != wanted.uid:
            return
        try:
            written = await self._kube.patch_status(
                reference.kind, reference.key, wanted.uid, dict(wanted.status)
            )
        except ApiRefused as error:
            if error.status == _FORBIDDEN:
                await self._try_again(reference, wanted, error)
            elif error.status not in _GONE:
                metrics.ERRORS.labels("status").inc()
                self._refused[reference] = (wanted.uid, undated(wanted.status))
                log.error("a status is refused", object=str(reference), error=str(error))
        except KubeError as error:
            await self._try_again(reference, wanted, error)
        else:
            self._failures = 0
            self._refused.pop(reference, None)
            metrics.STATUS_WRITES.inc()
            self._store.wrote(reference, written)
            change = transition(wanted.status, known.status)
            if change is not None:
                self._events.append((known, change))

    async def _try_again(self, reference: Reference, wanted: _Wanted, error: KubeError) -> None:
        metrics.ERRORS.labels("status").inc()
        log.warning("a status is not written for now", object=str(reference), error=str(error))
        self._failures += 1
        rounds = math.ceil(self._failures / _AT_ONCE)  # parallel writes fail together
        await asyncio.sleep(_BACKOFF.seconds(rounds, random))
        self._waiting.setdefault(reference, wanted)  # a newer one may wait by now

    async def _post_on(self) -> None:
        while True:
            async with self._work:
                await self._work.wait_for(lambda: self._events and not self._waiting)
                known, change = self._events.popleft()
            try:
                await self._post(known, change)
            except KubeError as error:
                log.debug("an Event is not posted", object=str(known.reference), error=str(error))

    async def _post(self, known: CachedObject, change: Transition) -> None:
        kind, key = known.reference
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{key.name[:200]}.{secrets.token_hex(8)}",
                "namespace": key.namespace,
            },
            "eventTime": moment,
            "type": "Warning" if change.warning else "Normal",
            "reason": change.reason,
            "action": "Reconcile",
            "note": change.message.encode()[:_LONGEST_NOTE].decode(errors="ignore"),
            "reportingController": f"{GROUP}/{MANAGER}",
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": str(kind),
                "namespace": key.namespace,
                "name": key.name,
                "uid": known.uid,
            },
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{quote(key.namespace)}/events"
        await self._kube.request("POST", path, body=body)
