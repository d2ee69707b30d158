"""`postroad status`: the cluster at a glance."""

import asyncio
from datetime import UTC, datetime

from postroad.cli.cluster import Where, open_cluster
from postroad.cli.options import (
    ContextOption,
    JsonFlag,
    NamespaceOption,
    ReleaseOption,
    StateOption,
    where,
)
from postroad.cli.output import ago, print_json, print_table
from postroad.spool.agreement import Order, SessionInfo
from postroad.spool.backlog import Counts
from postroad.spool.selection import WaitKind

_TOP = 10


def status(
    state: StateOption = None,
    context: ContextOption = None,
    namespace: NamespaceOption = None,
    release: ReleaseOption = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Show the cluster at a glance: its processes, its queue, the orders in force.

    Example: postroad status --json

    Example: postroad status --context production --namespace mail
    """
    asyncio.run(_status(where(state, context, namespace, release), as_json=as_json))


async def _status(cluster: Where, *, as_json: bool) -> None:
    async with open_cluster(cluster) as spool:
        sessions = [s for s in await spool.sessions.live() if s.role != "command"]
        counts = await spool.waiting.counts()
        now = datetime.now(UTC)
        orders = list(spool.orders.in_force(now))
        refusal = spool.refusal()
    if as_json:
        print_json(_summary(sessions, counts, orders, refusal))
        return
    accepting = "accepting mail" if refusal is None else f"refusing mail: {refusal}"
    totals = ", ".join(f"{kind.name.lower()} {_total(counts, kind)}" for kind in WaitKind)
    print(f"queue: {accepting}; {totals}\n")
    rows = [(s.process, s.role, s.pool, str(s.generation), ago(s.started, now)) for s in sessions]
    columns = ("PROCESS", "ROLE", "POOL", "CONFIGURATION", "STARTED")
    print_table(columns, sorted(rows), empty="No process is alive.")
    _print_domains(counts)
    _print_orders(orders, now)


def _total(counts: Counts, kind: WaitKind) -> int:
    return sum(tally.number for (each, _, _), tally in counts.items() if each is kind)


def _by_domain(counts: Counts) -> dict[str, dict[WaitKind, int]]:
    domains: dict[str, dict[WaitKind, int]] = {}
    for (kind, _, domain), tally in counts.items():
        kinds = domains.setdefault(domain, {})
        kinds[kind] = kinds.get(kind, 0) + tally.number
    return dict(sorted(domains.items(), key=lambda item: -sum(item[1].values())))


def _print_domains(counts: Counts) -> None:
    rows = [
        (domain, *(str(kinds.get(kind, 0)) for kind in WaitKind))
        for domain, kinds in list(_by_domain(counts).items())[:_TOP]
    ]
    if rows:
        print()
        print_table(("DOMAIN", "READY", "DEFERRED", "HELD"), rows, empty="")


def _print_orders(orders: list[Order], now: datetime) -> None:
    rows = [(o.order_id[:8], o.action, ago(o.placed, now), o.reason) for o in orders]
    if rows:
        print()
        print_table(("ORDER", "ACTION", "GIVEN", "REASON"), rows, empty="")


def _summary(
    sessions: list[SessionInfo], counts: Counts, orders: list[Order], refusal: Exception | None
) -> dict[str, object]:
    return {
        "accepting": refusal is None,
        "refusal": str(refusal) if refusal else None,
        "queue": {kind.name.lower(): _total(counts, kind) for kind in WaitKind},
        "domains": {
            domain: {kind.name.lower(): number for kind, number in kinds.items()}
            for domain, kinds in _by_domain(counts).items()
        },
        "processes": [
            {
                "process": s.process,
                "role": s.role,
                "pool": s.pool,
                "generation": s.generation,
                "started": s.started,
            }
            for s in sessions
        ],
        "orders": [
            {"order_id": o.order_id, "action": o.action, "placed": o.placed, "until": o.until}
            for o in orders
        ],
    }
