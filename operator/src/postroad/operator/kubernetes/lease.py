"""
Leader election: a coordination.k8s.io Lease, which one operator takes, renews and gives up.

The clocks of different machines are never compared. An operator that waits takes the Lease when it
has not seen it change for the Lease's whole duration, by its own monotonic clock. The holder renews
the Lease every 2 s. It counts the Lease as lost when its last successful renewal was sent 10 s ago.
Then the process ends, well before another operator may begin. At SIGTERM the holder gives the Lease
up, so that the next operator begins within a second or two.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any
from urllib.parse import quote

from postroad.operator.kubernetes.client import ApiRefused, Kube, KubeError
from postroad.telemetry.logs import get_logger

DURATION = timedelta(seconds=15)
RENEWAL = timedelta(seconds=2)
LOST_AFTER = timedelta(seconds=10)
_REQUEST = timedelta(seconds=4)
_CONTENTION = frozenset({404, 409})

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A Lease as read; `since` is when this content was first seen, by our monotonic clock."""

    holder: str
    renewed: str
    duration: timedelta
    since: float


class LeaseStep(Enum):
    """What to do about a Lease."""

    TAKE = auto()
    RENEW = auto()
    WAIT = auto()


def decide(seen: Seen, me: str, now: float) -> LeaseStep:
    """Return what `me` may do about a Lease."""
    if seen.holder == me:
        return LeaseStep.RENEW
    if not seen.holder or now - seen.since >= seen.duration.total_seconds():
        return LeaseStep.TAKE
    return LeaseStep.WAIT


def lost(last_renewal: float, now: float) -> bool:
    """Whether a holder must stop: another operator may soon take the Lease."""
    return now - last_renewal >= LOST_AFTER.total_seconds()


def observe(lease: dict[str, Any], before: Seen | None, now: float) -> Seen:
    """Return a Lease as seen; `since` stays while the content stays the same."""
    spec = lease.get("spec") or {}
    holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
    seconds = spec.get("leaseDurationSeconds")
    duration = timedelta(seconds=seconds) if isinstance(seconds, int) else DURATION
    same = before is not None and (before.holder, before.renewed) == (holder, renewed)
    return Seen(holder, renewed, duration, before.since if before and same else now)


class LeaseKeeper:
    """Waits for the Lease, then keeps it; `renewal` is shorter in tests."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, me: str, *, renewal: timedelta = RENEWAL
    ) -> None:
        self._kube = kube
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases"
        self._namespace, self._name, self._me = namespace, name, me
        self._pause = renewal.total_seconds()
        self._lease: dict[str, Any] = {}
        self._seen: Seen | None = None
        self._last_renewal = 0.0
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self.holding = False
        self.on_contact: Callable[[], None] = lambda: None  # called when the API server is back
        self._away = False

    async def acquire(self) -> None:
        """Wait until this process holds the Lease."""
        told = ""
        while True:
            try:
                if await self._try():
                    self.holding = True
                    log.info("leading", lease=self._name)
                    return
                holder = self._seen.holder if self._seen else ""
                if holder != told:
                    log.info("standing by", lease=self._name, holder=holder)
                    told = holder
            except KubeError as error:
                log.warning("the Lease cannot be read for now", error=str(error))
            await asyncio.sleep(self._pause)

    async def keep(self) -> None:
        """Renew until the Lease is lost, then return."""
        while not lost(self._last_renewal, self._clock()):
            await asyncio.sleep(self._pause)
            try:
                # A renewal is two requests. Together they must end before the Lease is lost.
                async with asyncio.timeout_at(self._last_renewal + LOST_AFTER.total_seconds()):
                    ours = await self._try()
            except (KubeError, TimeoutError) as error:
                self._away = True
                log.warning("the Lease is not renewed", error=str(error) or "no answer in time")
                continue
            if not ours:
                log.error("another operator holds the Lease", lease=self._name)
                break
            self._seen_again()
        self.holding = False

    def _seen_again(self) -> None:
        if self._away:
            self._away = False
            self.on_contact()

    async def give_up(self) -> None:
        """Let another operator take the Lease at once."""
        if not self.holding:
            return
        self.holding = False
        try:
            # A Lease that nobody holds lacks the field: an empty field is refused.
            await self._write({"holderIdentity": None, "leaseDurationSeconds": 1})
        except KubeError as error:
            log.warning("the Lease ends by expiry", error=str(error))

    async def _try(self) -> bool:
        """Read the Lease, take or renew it if possible; return whether this process holds it."""
        now = self._clock()
        try:
            self._lease = await self._kube.request(
                "GET", f"{self._path}/{quote(self._name)}", timeout=_REQUEST
            )
            self._seen = observe(self._lease, self._seen, now)
            step = decide(self._seen, self._me, now)
            if step is LeaseStep.WAIT or (step is LeaseStep.TAKE and self.holding):
                return False
            await self._write(self._spec())
        except ApiRefused as error:
            if error.status not in _CONTENTION:
                raise
            if error.status == 404:
                return await self._create(now)
            return False if not self.holding else self._still_ours()
        self._last_renewal = now
        return True

    def _still_ours(self) -> bool:
        """Whether the Lease is still held after a conflict, by the time of the last renewal."""
        return not lost(self._last_renewal, self._clock())

    async def _create(self, now: float) -> bool:
        metadata = {"name": self._name, "namespace": self._namespace}
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": self._spec(),
        }
        try:
            self._lease = await self._kube.request("POST", self._path, body=body, timeout=_REQUEST)
        except ApiRefused as error:
            if error.status not in _CONTENTION:
                raise
            if error.status == 404:
                raise KubeError(f"there is no namespace {self._namespace}") from error
            return False
        self._last_renewal = now
        return True

    def _spec(self) -> dict[str, Any]:
        before = self._lease.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._me
        changes = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._me,
            "leaseDurationSeconds": int(DURATION.total_seconds()),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": changes if ours or not before else changes + 1,
        }

    async def _write(self, spec: dict[str, Any]) -> None:
        # With its resourceVersion: a write by another process meanwhile causes a conflict.
        body = {**self._lease, "spec": {**(self._lease.get("spec") or {}), **spec}}
        self._lease = await self._kube.request(
            "PUT", f"{self._path}/{quote(self._name)}", body=body, timeout=_REQUEST
        )
