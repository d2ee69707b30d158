"""`postroad status`: shows the cluster's processes, its queue, and the orders in force."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from postroad.cli.commands.status_objects import print_findings
from postroad.cli.queue.listing import STATES, last_reply
from postroad.cli.queue.standing import print_orders, row, standing
from postroad.cli.state.findings import Findings, read_findings
from postroad.cli.target.connect import open_cluster, state_folder
from postroad.cli.target.options import Where
from postroad.cli.terminal.options import Form, FormOption, JsonFlag
from postroad.cli.terminal.output import ago, print_json, short
from postroad.cli.terminal.tables import Column, print_table
from postroad.mail.visible import visible
from postroad.spool.agreement import Order, SessionInfo
from postroad.spool.backlog import Counts, Tally
from postroad.spool.interface import Spool
from postroad.spool.selection import Selection, WaitKind

_TOP = 10  # domains that the table shows, each with its last reply
_WAITING = frozenset({WaitKind.DEFERRED, WaitKind.HELD})
_PROCESSES = (
    Column("PROCESS"),
    Column("ROLE", 2),
    Column("POOL", 3),
    Column("CONFIGURATION", 1),
    Column("STARTED", 4),
)
_DOMAINS = (
    Column("DOMAIN", 0, 20),
    Column("READY", 1),
    Column("DEFERRED", 1),
    Column("HELD", 2),
    Column("OLDEST", 3),
    Column("LAST REPLY", 4, 20),
)


@dataclass(frozen=True, slots=True)
class DomainMail:
    """The queued mail for one destination domain."""

    domain: str
    kinds: Mapping[WaitKind, Tally]
    last_reply: str = ""

    @property
    def number(self) -> int:
        """How many records there are."""
        return sum(tally.number for tally in self.kinds.values())

    def of(self, kind: WaitKind) -> int:
        """Return how many records of a kind there are."""
        return self.kinds[kind].number if kind in self.kinds else 0

    @property
    def oldest(self) -> datetime | None:
        """When the oldest waiting record arrived; None if all are ready."""
        known = [tally.oldest for tally in self.kinds.values() if tally.oldest is not None]
        return min(known, default=None)


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything that `status` shows, in the order of the table and of JSON."""

    now: datetime
    refusal: str | None  # why clients are refused
    processes: Sequence[SessionInfo]
    domains: Sequence[DomainMail]
    orders: Sequence[tuple[Order, int]] = ()
    refusing: Mapping[str, str] = field(default_factory=dict)  # streams that take no mail, and why
    findings: Findings | None = None  # None on Kubernetes, where each object's status shows them

    def total(self, kind: WaitKind) -> int:
        """Return how many records of a kind there are."""
        return sum(domain.of(kind) for domain in self.domains)


def status(cluster: Where, form: FormOption = None, as_json: JsonFlag = False) -> None:
    """
    Show the cluster at a glance: its processes, its queue, the orders in force.

    For `postroad up` it also shows mistakes in the manifests, smarthosts that do not answer, and
    how much of each Quota is used. On Kubernetes the status of each object shows these.

    Example: postroad status --json

    Example: postroad status --context production --namespace mail
    """
    glance = asyncio.run(_look(cluster))
    if as_json or form is Form.JSON:
        print_json(_summary(glance))
    else:
        print_glance(glance, wide=form is Form.WIDE)


async def _look(cluster: Where) -> Glance:
    state = state_folder(cluster)
    async with open_cluster(cluster) as spool:
        sessions = [s for s in await spool.sessions.live() if s.role != "command"]
        domains = by_domain(await spool.waiting.counts())
        replies = await asyncio.gather(*(_last_reply(spool, each) for each in domains[:_TOP]))
        stuck = [
            DomainMail(each.domain, each.kinds, reply)
            for each, reply in zip(domains[:_TOP], replies, strict=True)
        ]
        return Glance(
            now=datetime.now(UTC),
            refusal=why_refusing(spool.refusal(), sessions),
            processes=sorted(sessions, key=lambda session: session.process),
            domains=[*stuck, *domains[_TOP:]],
            orders=await standing(spool),
            refusing=dict(sorted(each for info in sessions for each in info.refusing)),
            findings=read_findings(state) if state is not None else None,
        )


def why_refusing(own: Exception | None, sessions: Sequence[SessionInfo]) -> str | None:
    """
    Return why clients are refused, None if their mail is accepted.

    The sessions of the ingress processes tell. The free room alone does not: a process that began
    to refuse goes on until there is more room than when it began. `own` is an error that this
    command itself met.
    """
    if own is not None:
        return str(own)
    ingress = [session for session in sessions if session.role == "ingress"]
    if not ingress:
        return "no ingress process is alive"
    full = sum(session.full for session in ingress)
    if not full:
        return None
    which = "" if full == len(ingress) else f", say {full} of {len(ingress)} ingress processes"
    return f"the queue's storage is nearly full{which}"


def by_domain(counts: Counts) -> list[DomainMail]:
    """Return the mail of each domain, those with most mail first, then by name."""
    domains: dict[str, dict[WaitKind, Tally]] = {}
    for (kind, _, domain), tally in counts.items():
        kinds = domains.setdefault(domain, {})
        kinds[kind] = kinds[kind].plus(tally) if kind in kinds else tally
    found = [DomainMail(domain, kinds) for domain, kinds in domains.items()]
    return sorted(found, key=lambda each: (-each.number, each.domain))


async def _last_reply(spool: Spool, mail: DomainMail) -> str:
    """Return the last reply to one of the waiting records, "" if there is none."""
    kinds = _WAITING & mail.kinds.keys()
    if not kinds:
        return ""
    selection = Selection(domain=mail.domain, kinds=kinds)
    async for queued in spool.waiting.list(selection, at_once=1):
        return last_reply(queued.record)
    return ""


def print_glance(glance: Glance, *, wide: bool) -> None:
    """Print everything for people; processes have written a part of it, so it is made visible."""
    now, refusal = glance.now, glance.refusal
    accepting = "accepting mail" if refusal is None else f"refusing mail: {refusal}"
    totals = ", ".join(f"{state} {glance.total(kind)}" for kind, state in STATES.items())
    print(visible(f"queue: {accepting}; {totals}"))
    for stream, why in glance.refusing.items():
        print(visible(f"{stream} takes no mail: {why}; new mail goes to other shards"))
    print()
    rows = [
        (each.process, each.role, each.pool, _configuration(each), ago(each.started, now))
        for each in glance.processes
    ]
    print_table(_PROCESSES, rows, empty="No process is alive.", wide=wide)
    if glance.domains:
        print()
        stuck = [_domain_cells(each, now) for each in glance.domains[:_TOP]]
        print_table(_DOMAINS, stuck, empty="", wide=wide)
        if more := len(glance.domains) - len(stuck):
            print(f"and {more} more; --json has all")
    if glance.orders:
        print()
        print_orders(glance.orders, wide=wide, empty="")
    if glance.findings is not None:
        print_findings(glance.findings, now, wide=wide)


def _generation(session: SessionInfo) -> int | None:
    """Return the generation that a process has; None without one, as of the operator and `up`."""
    return session.generation or None


def _configuration(session: SessionInfo) -> str:
    known = str(_generation(session) or "")
    return f"{known}, not all of it" if known and session.stale else known


def _domain_cells(mail: DomainMail, now: datetime) -> tuple[str, ...]:
    oldest = short(now - mail.oldest) if mail.oldest is not None else ""
    numbers = [str(mail.of(kind)) for kind in STATES]
    # Mail that was just stored together with that for other domains, and not tried yet.
    return (mail.domain or "(several)", *numbers, oldest, mail.last_reply)


def _summary(glance: Glance) -> dict[str, object]:
    refusal = glance.refusal
    return {
        "accepting": refusal is None,
        "refusal": refusal,
        "refusing": dict(glance.refusing),
        "queue": {state: glance.total(kind) for kind, state in STATES.items()},
        "domains": {each.domain: _domain_row(each) for each in glance.domains},
        "processes": [
            {
                "process": s.process,
                "role": s.role,
                "pool": s.pool,
                "generation": _generation(s),
                "stale": s.stale,
                "started": s.started,
            }
            for s in glance.processes
        ],
        "orders": [row(order, changed) for order, changed in glance.orders],
        "objects": glance.findings.as_json() if glance.findings is not None else None,
    }


def _domain_row(mail: DomainMail) -> dict[str, object]:
    told: dict[str, object] = {state: mail.of(kind) for kind, state in STATES.items()}
    if mail.oldest is not None:
        told["oldest"] = mail.oldest
    if mail.last_reply:
        told["last_reply"] = mail.last_reply
    return told
