"""
How much of each Quota is used, read from the counts from which ingress processes lease.

A Quota for a single subject has one count for each limit, which is read by its key. For a Quota
with many subjects (each sender, each network), all counts are read, and a status shows the few most
used ones. The counts are read every half minute, so a status changes at most that often.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from postroad.mail.visible import visible
from postroad.operator import metrics
from postroad.operator.status.conditions import timestamp
from postroad.policy.limits.quota import (
    counted_value,
    counts_since,
    fixed_value,
    usage_key,
    window_end,
)
from postroad.policy.model import ObjectKey, Quota, QuotaLimit
from postroad.spool.agreement import QuotaCounters
from postroad.spool.errors import SpoolError
from postroad.telemetry.logs import get_logger
from postroad.units.quantities import format_duration

EVERY = timedelta(seconds=30)
SHOWN = 10  # counts of one limit
_LONGEST_SUBJECT = 253

log = get_logger(__name__)

UsageLines = Sequence[Mapping[str, Any]]


class QuotaUsage:
    """`lines` are status.usage of each Quota, as last read."""

    def __init__(
        self,
        quotas: Callable[[], Sequence[Quota]],
        usage: QuotaCounters,
        changed: Callable[[], None],
    ) -> None:
        self.lines: dict[ObjectKey, UsageLines] = {}
        self._quotas = quotas
        self._usage = usage
        self._changed = changed

    async def run(self) -> None:
        """Read the counts at intervals, until cancelled."""
        while True:
            try:
                self.lines = await read_usage(self._quotas(), self._usage, datetime.now(UTC))
                self._changed()
            except SpoolError as error:
                metrics.ERRORS.labels("usage").inc()
                log.debug("usage cannot be read", error=str(error))
            await asyncio.sleep(EVERY.total_seconds())


async def read_usage(
    quotas: Sequence[Quota], usage: QuotaCounters, now: datetime
) -> dict[ObjectKey, UsageLines]:
    """Return status.usage of each Quota."""
    single = [quota for quota in quotas if fixed_value(quota.subject) is not None]
    many = [quota for quota in quotas if fixed_value(quota.subject) is None]
    lines: dict[ObjectKey, list[Mapping[str, Any]]] = {}
    for quota in single:
        value = fixed_value(quota.subject) or ""
        lines[quota.key] = []
        for limit in quota.limits:
            key, since = usage_key(quota.key, limit, value, now), counts_since(limit.window, now)
            lines[quota.key].append(_line(limit, now, await usage.used(key, since=since)))
    greatest = await _most_used(many, usage, now) if many else {}
    # The first line is what `kubectl get` shows.
    return {
        key: sorted(each, key=_share, reverse=True) for key, each in {**lines, **greatest}.items()
    }


def _share(line: Mapping[str, Any]) -> float:
    return float(line["used"] / max(1, line["max"]))


async def _most_used(
    quotas: Sequence[Quota], usage: QuotaCounters, now: datetime
) -> dict[ObjectKey, UsageLines]:
    """Read all counts once, and keep the few largest of each limit."""
    limits = {
        usage_key(quota.key, limit, "", now): (quota.key, limit)
        for quota in quotas
        for limit in quota.limits
    }
    since = {prefix: counts_since(limit.window, now) for prefix, (_, limit) in limits.items()}
    greatest: dict[str, list[tuple[int, str]]] = {prefix: [] for prefix in limits}
    async for key, used in usage.all(lambda key: since.get(_prefix(key))):
        prefix = _prefix(key)
        if not used:
            continue
        value = counted_value(key, *limits[prefix], now)
        if value is not None:
            heapq.heappush(greatest[prefix], (used, value))
            if len(greatest[prefix]) > SHOWN:
                heapq.heappop(greatest[prefix])
    lines: dict[ObjectKey, UsageLines] = {quota.key: [] for quota in quotas}
    for prefix, (quota_key, limit) in limits.items():
        found = sorted(greatest[prefix], key=lambda each: (-each[0], each[1]))
        lines[quota_key] = [*lines[quota_key], *(_line(limit, now, u, value) for u, value in found)]
    return lines


def _prefix(key: str) -> str:
    return key[: key.rfind(".") + 1]


def _line(limit: QuotaLimit, now: datetime, used: int, subject: str = "") -> Mapping[str, Any]:
    line: dict[str, Any] = {"limit": f"{limit.unit.value}/{format_duration(limit.window)}"}
    if subject:
        line["subject"] = visible(subject)[:_LONGEST_SUBJECT]
    resets = timestamp(window_end(limit.window, now))
    return line | {"used": used, "max": limit.maximum, "resetsAt": resets}
