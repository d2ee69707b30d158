"""
Does for `postroad up` what the operator's status controller does on Kubernetes.

It runs the operator's own probes of smarthosts and quotas. It writes their results, and the
mistakes in the manifests, into gauges and into a file for `postroad status`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice

from postroad.cli.standalone.manifests import FollowedManifests
from postroad.cli.state.findings import MOST, Findings, ObjectTrouble, QuotaUse, write_findings
from postroad.cli.state.folder import StateFolder
from postroad.manifests.compiler.check import Checked
from postroad.manifests.compiler.result import Compiled, ConditionType
from postroad.manifests.objects import Kind
from postroad.operator import metrics
from postroad.operator.probes.dns import addresses_by
from postroad.operator.probes.quota_usage import QuotaUsage, UsageLines
from postroad.operator.probes.smarthosts import SmarthostProbe, as_named
from postroad.operator.status.conditions import Judgement, Truth
from postroad.policy.model import ObjectKey, Quota, Relay
from postroad.process.lifecycle import Process
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger
from postroad.units.addresses import parse_name_server

log = get_logger(__name__)

_TRIED_EVERY = timedelta(minutes=1)  # each Relay; there are few on one machine
_PAUSE = timedelta(seconds=1)
_AT_MOST_EVERY = 0.5  # seconds


class Oversight:
    """Checks all declared objects, and keeps the results in the file."""

    def __init__(
        self,
        state: StateFolder,
        manifests: FollowedManifests,
        spool: Spool,
        *,
        resolver: str | None,
    ) -> None:
        self._state = state
        self._manifests = manifests
        self._counted: Checked | None = None
        self._changed = asyncio.Event()
        self._reachable = SmarthostProbe(
            self._relays,
            self._changed.set,
            address_of=addresses_by(parse_name_server(resolver)) if resolver else as_named,
            every=_TRIED_EVERY,
            pause=_PAUSE,
        )
        self._usage = QuotaUsage(self._quotas, spool.usage, self._changed.set)

    def start(self, process: Process) -> None:
        """Begin, with the result of the first check of the manifests."""
        metrics.LEADER.set(1)
        self._manifests.on_checked = self._changed.set
        self._changed.set()
        process.spawn("oversight", self._keep())
        process.spawn("reachable", self._reachable.run())
        process.spawn("usage", self._usage.run())

    def _relays(self) -> Mapping[ObjectKey, Relay]:
        entries = self._manifests.in_force.entries.values()
        return {entry.key: entry for entry in entries if isinstance(entry, Relay)}

    def _quotas(self) -> list[Quota]:
        entries = self._manifests.in_force.entries.values()
        return [entry for entry in entries if isinstance(entry, Quota)]

    async def _keep(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._tell()
            await asyncio.sleep(_AT_MOST_EVERY)

    def _tell(self) -> None:
        checked = self._manifests.checked
        if checked is not self._counted:
            self._counted = checked
            for (kind, ready), number in count_objects(checked.compiled).items():
                metrics.OBJECTS.labels(kind, ready).set(number)
        found = findings(checked, self._reachable.found, self._usage.lines, datetime.now(UTC))
        try:
            write_findings(self._state, found)
        except OSError as error:
            log.warning("what `status` shows cannot be written", error=str(error))


def count_objects(compiled: Compiled) -> Mapping[tuple[Kind, str], int]:
    """Return how many objects of each kind are ready, and how many are not."""
    counts = {(kind, ready): 0 for kind in Kind for ready in ("true", "false")}
    for reference in compiled.conditions:
        counts[reference.kind, "true" if compiled.ready(reference) else "false"] += 1
    return counts


def findings(
    checked: Checked,
    reachable: Mapping[ObjectKey, Judgement],
    usage: Mapping[ObjectKey, UsageLines],
    now: datetime,
) -> Findings:
    """Return what is wrong with the objects, and how much of the quotas is used."""
    troubles = sorted(
        [*_not_ready(checked.compiled), *_unreachable(reachable)], key=lambda each: each.object
    )
    kept = checked.mistakes[:MOST], troubles[:MOST]
    return Findings(
        at=now,
        mistakes=tuple(str(mistake) for mistake in kept[0]),
        troubles=tuple(kept[1]),
        quotas=tuple(islice(_by_share(usage), MOST)),
        more=len(checked.mistakes) + len(troubles) - sum(map(len, kept)),
    )


def _not_ready(compiled: Compiled) -> Iterator[ObjectTrouble]:
    for reference, conditions in compiled.conditions.items():
        for each in conditions:
            if each.type is ConditionType.READY and not each.status:
                yield ObjectTrouble(str(reference), str(each.type), str(each.reason), each.message)


def _unreachable(reachable: Mapping[ObjectKey, Judgement]) -> Iterator[ObjectTrouble]:
    for key, judgement in reachable.items():
        if judgement.status is not Truth.TRUE:
            name = f"{Kind.RELAY} {key}"
            yield ObjectTrouble(name, str(judgement.type), judgement.reason, judgement.message)


def _by_share(usage: Mapping[ObjectKey, UsageLines]) -> Iterable[QuotaUse]:
    found = [
        QuotaUse(
            quota=str(key),
            limit=line["limit"],
            subject=line.get("subject", ""),
            used=line["used"],
            max=line["max"],
            resets=line["resetsAt"],
        )
        for key, lines in sorted(usage.items())
        for line in lines
    ]
    return sorted(found, key=lambda use: -use.share)
