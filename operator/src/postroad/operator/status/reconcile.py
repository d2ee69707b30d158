"""
Works out what an object's status should be from the facts about the cluster: a pure function.

It does no I/O and reads no clock. The same facts give the same status, in whatever order they came.
If a fact is not known yet in this run of the operator (the DNS was not asked, a smarthost was not
tried), the status keeps what it said before. So a restart changes no status.

`Programmed` is about the generation in which the object's own entry last changed, not about the
newest generation. Otherwise every change would make all objects of the cluster doubtful for a
second. A process without a generation has only just started and serves no client; it counts once it
has one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from postroad.manifests.compiler.result import Compiled, Condition, ConditionType, Reason
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.quota import QuotaSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import Declared, Kind
from postroad.operator.status.conditions import Judgement, Truth, Type, find, merge
from postroad.operator.status.dns_facts import DnsFacts, DnsRecord, compare, wanted
from postroad.policy.model import ObjectKey

DATA_PLANE = frozenset({"ingress", "delivery"})


@dataclass(frozen=True, slots=True)
class Serving:
    """
    A process of the data plane: its name and the generation it has in force.

    `stale`: it cannot read some object of it.
    """

    process: str
    generation: int
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """
    The facts from which statuses are worked out.

    `generations` has the generation in which each entry was published, but no entries that are not
    published yet. `serving` is None while the sessions cannot be read. `patient` means that a
    publication is so recent that acknowledgements are still expected. `refusing` has the streams of
    the queue that take no records, and why.
    """

    compiled: Compiled = field(default_factory=Compiled)
    generations: Mapping[str, int] = field(default_factory=dict)
    serving: Sequence[Serving] | None = None
    patient: bool = False
    hostname: str = ""
    dns_checks: bool = True
    dns: Mapping[str, DnsFacts] = field(default_factory=dict)
    reachable: Mapping[ObjectKey, Judgement] = field(default_factory=dict)
    usage: Mapping[ObjectKey, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    refusing: Mapping[str, str] = field(default_factory=dict)


def desired(
    declared: Declared, previous: Mapping[str, Any], facts: Facts, now: datetime
) -> dict[str, Any] | None:
    """
    Return the fields of the status that an object should have; None to leave it for now.

    A field whose value is None is to be removed.
    """
    compiled = facts.compiled.conditions.get(declared.reference)
    if compiled is None or compiled[0].observed_generation != declared.generation:
        return None  # not compiled yet since it was created or changed
    judgements = _from_compiling(compiled)
    if declared.reference.kind is Kind.DOMAIN_GRANT:  # nothing of it is published
        judgements.insert(0, replace(judgements[0], type=Type.READY))
    else:
        programmed = _programmed(declared, compiled[0], previous, facts)
        if programmed is None:
            return None
        judgements.append(programmed)
        judgements.insert(0, _ready(compiled[0], programmed))
    status: dict[str, Any] = {"observedGeneration": declared.generation}
    if isinstance(declared.spec, DomainSpec):
        _add_dns(status, judgements, declared.spec, previous, facts)
    if isinstance(declared.spec, RelaySpec) and declared.spec.smarthosts:
        judgements += _reachable(declared, previous, facts)
    if isinstance(declared.spec, RelaySpec) and facts.refusing:
        judgements.append(_stream_refuses(facts.refusing))
    if isinstance(declared.spec, QuotaSpec):
        usage = facts.usage.get(declared.reference.key)
        if usage is not None:
            status["usage"] = [dict(line) for line in usage]
    status["conditions"] = merge(
        previous.get("conditions") or (), judgements, generation=declared.generation, now=now
    )
    return status


def differs(status: Mapping[str, Any], previous: Mapping[str, Any]) -> bool:
    """Whether writing a status would change anything."""
    return any(previous.get(name) != value for name, value in status.items())


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of Ready that is worth an Event."""

    warning: bool
    reason: str
    message: str


def transition(status: Mapping[str, Any], previous: Mapping[str, Any]) -> Transition | None:
    """Return the Event for a new status; None if Ready has not changed or is not decided yet."""
    after, before = find(status, Type.READY), find(previous, Type.READY)
    if after is None or after["status"] == Truth.UNKNOWN or after["reason"] == PENDING:
        return None
    was = (before.get("status"), before.get("reason")) if before else (None, None)
    if was == (after["status"], after["reason"]):
        return None
    if after["status"] == Truth.TRUE and was[0] == Truth.TRUE:
        return None
    return Transition(after["status"] != Truth.TRUE, str(after["reason"]), str(after["message"]))


PENDING = "Pending"


def _from_compiling(conditions: Sequence[Condition]) -> list[Judgement]:
    return [
        Judgement(Type(each.type), _truth(each), each.reason, each.message)
        for each in conditions
        if each.type is not ConditionType.READY
    ]


def _truth(condition: Condition) -> Truth:
    if condition.reason in (Reason.PENDING, Reason.LOOKUP_FAILED):
        return Truth.UNKNOWN
    return Truth.TRUE if condition.status else Truth.FALSE


def _ready(compiled: Condition, programmed: Judgement) -> Judgement:
    if not compiled.status:
        return Judgement(Type.READY, Truth.FALSE, compiled.reason, compiled.message)
    return Judgement(Type.READY, programmed.status, programmed.reason, programmed.message)


def _programmed(
    declared: Declared, ready: Condition, previous: Mapping[str, Any], facts: Facts
) -> Judgement | None:
    """Return the condition Programmed; None to wait for a moment."""
    key = declared.reference.entry_key
    if ready.reason is Reason.STALE:
        message = "the last good form is in force, not what is declared now"
        return Judgement(Type.PROGRAMMED, Truth.FALSE, Reason.STALE, message)
    if key not in facts.compiled.entries:
        message = "the object is not part of the configuration"
        return Judgement(Type.PROGRAMMED, Truth.FALSE, "NotInForce", message)
    if facts.serving is None:
        return _as_before(declared, previous, "the queue does not answer")
    serving = [each for each in facts.serving if each.generation > 0]
    generation = facts.generations.get(key)
    if not serving and facts.serving and facts.patient:
        return None  # the very first configuration has just been published
    if not serving and generation is not None:
        message = "no ingress or delivery process has a configuration"
        return Judgement(Type.PROGRAMMED, Truth.UNKNOWN, "NoProcesses", message)
    behind = [
        each.process
        for each in serving
        if generation is None or each.generation < generation or each.stale
    ]
    if not behind and generation is not None:
        message = "in force in every ingress and delivery process"
        return Judgement(Type.PROGRAMMED, Truth.TRUE, "Programmed", message)
    if facts.patient:
        return None
    if generation is None:
        message = "the configuration could not be published yet"
    else:
        message = f"not yet in force in {len(behind)} of {len(serving)} processes: {behind[0]}"
        if any(each.stale for each in serving):
            message += "; some object cannot be read there: see its log"
    return Judgement(Type.PROGRAMMED, Truth.FALSE, PENDING, message)


def _as_before(declared: Declared, previous: Mapping[str, Any], why: str) -> Judgement:
    """Return the previous condition if it is about the same generation, or else Unknown."""
    before = find(previous, Type.PROGRAMMED)
    if before is not None and before.get("observedGeneration") == declared.generation:
        return _repeated(Type.PROGRAMMED, before)
    return Judgement(Type.PROGRAMMED, Truth.UNKNOWN, "QueueAway", why)


def _repeated(of: Type, before: Mapping[str, Any]) -> Judgement:
    truth = Truth(before["status"]) if before.get("status") in set(Truth) else Truth.UNKNOWN
    return Judgement(of, truth, str(before.get("reason")), str(before.get("message")))


def _add_dns(
    status: dict[str, Any],
    judgements: list[Judgement],
    spec: DomainSpec,
    previous: Mapping[str, Any],
    facts: Facts,
) -> None:
    records = wanted(
        spec.domain,
        receives=spec.receive is not None,
        sends=spec.send is not None,
        hostname=facts.hostname,
    )
    found = facts.dns.get(spec.domain)
    before = find(previous, Type.DNS_VERIFIED)
    if not facts.dns_checks or not records:
        pass
    elif found is not None:
        records, judgement = compare(records, found, hostname=facts.hostname)
        judgements.append(judgement)
    elif before is not None and _same_records(records, previous):
        judgements.append(_repeated(Type.DNS_VERIFIED, before))
        status["dnsRecords"] = previous["dnsRecords"]
        return
    else:
        message = "the DNS is asked in a moment"
        judgements.append(Judgement(Type.DNS_VERIFIED, Truth.UNKNOWN, PENDING, message))
    status["dnsRecords"] = [record.as_status() for record in records] or None


def _same_records(records: Sequence[DnsRecord], previous: Mapping[str, Any]) -> bool:
    said = previous.get("dnsRecords") or ()
    now = [(record.name, record.type, record.value) for record in records]
    return now == [(each.get("name"), each.get("type"), each.get("value")) for each in said]


def _stream_refuses(refusing: Mapping[str, str]) -> Judgement:
    """
    Return what Relays say of the queue, which has no object of its own.

    It is there only while it is true, so that nothing is written for it otherwise.
    """
    stream, why = next(iter(refusing.items()))
    more = f", and {len(refusing) - 1} more" if len(refusing) > 1 else ""
    message = (
        f"{stream} takes no mail ({why}){more}; new mail goes to other shards: see the section"
        " `A stream that refuses writes` of the manual"
    )
    return Judgement(Type.STREAM_REFUSES_WRITES, Truth.TRUE, "PublishesFail", message)


def _reachable(declared: Declared, previous: Mapping[str, Any], facts: Facts) -> list[Judgement]:
    found = facts.reachable.get(declared.reference.key)
    if found is not None:
        return [found]
    before = find(previous, Type.REACHABLE)
    if before is not None and before.get("observedGeneration") == declared.generation:
        return [_repeated(Type.REACHABLE, before)]
    message = "the smarthosts are tried in a moment"
    return [Judgement(Type.REACHABLE, Truth.UNKNOWN, PENDING, message)]
