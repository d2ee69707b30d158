"""
Compares the DNS records of a Domain with those that it needs. It makes no look-ups itself.

A Domain that receives needs an MX record that names this cluster. A Domain that sends needs an SPF
record (RFC 7208) and a DMARC record (RFC 9989), its own or that of a domain above it. An SPF record
must be there, but its content is not checked: the owner decides who may send. If a look-up fails,
the condition is Unknown and not False.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from postroad.mail.visible import visible
from postroad.operator.status.conditions import Judgement, Truth, Type

_LONGEST_FOUND = 1024


class State(StrEnum):
    """Whether a required record was found."""

    FOUND = "Found"
    MISSING = "Missing"
    DIFFERENT = "Different"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """The DNS's answer: the values, none if there is no such record; or why there is no answer."""

    values: tuple[str, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """
    The DNS records of one mail domain.

    `mx` has hosts in lower case without the final dot. `txt` has all texts at the domain. `dmarc`
    has those at its `_dmarc` name, or at the nearest one above that has a record. `proof` has those
    at the name where namespaces prove their claims.
    """

    mx: DnsAnswer
    txt: DnsAnswer
    dmarc: DnsAnswer
    proof: DnsAnswer = DnsAnswer()


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One record that a Domain needs."""

    name: str
    type: str
    value: str
    state: State = State.UNKNOWN
    found: str = ""

    def as_status(self) -> dict[str, Any]:
        """Return it as status.dnsRecords has it."""
        shown = {"name": self.name, "type": self.type, "value": self.value, "state": self.state}
        made = {name: str(text) for name, text in shown.items()}
        return made | ({"found": visible(self.found)[:_LONGEST_FOUND]} if self.found else {})


def wanted(domain: str, *, receives: bool, sends: bool, hostname: str) -> tuple[DnsRecord, ...]:
    """Return the records to publish for a Domain; no MX if this cluster's own name is not known."""
    records = []
    if receives and hostname:
        records.append(DnsRecord(domain, "MX", f"10 {hostname}"))
    if sends:
        records.append(DnsRecord(domain, "TXT", "v=spf1 mx -all"))
        records.append(DnsRecord(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=none"))
    return tuple(records)


def compare(
    records: Sequence[DnsRecord], facts: DnsFacts, *, hostname: str
) -> tuple[tuple[DnsRecord, ...], Judgement]:
    """Return the records as they were found, and the condition that follows."""
    found = tuple(_compared(record, facts, hostname) for record in records)
    unknown = [each for each in found if each.state is State.UNKNOWN]
    wrong = [each for each in found if each.state in (State.MISSING, State.DIFFERENT)]
    if wrong:
        missing = [each for each in wrong if each.state is State.MISSING]
        reason = "RecordsMissing" if missing else "RecordsDiffer"
        listed = ", ".join(_described(each) for each in wrong)
        message = f"{listed}; status.dnsRecords says what to publish"
        return found, Judgement(Type.DNS_VERIFIED, Truth.FALSE, reason, message)
    if unknown:
        trouble = next(a.trouble for a in (facts.mx, facts.txt, facts.dmarc) if a.trouble)
        message = f"the DNS could not be asked: {trouble}"
        return found, Judgement(Type.DNS_VERIFIED, Truth.UNKNOWN, "LookupFailed", message)
    message = "every record that the domain needs was found"
    return found, Judgement(Type.DNS_VERIFIED, Truth.TRUE, "RecordsFound", message)


def _described(record: DnsRecord) -> str:
    state = "is missing" if record.state is State.MISSING else "says something else"
    return f"{_purpose(record)} of {record.name} {state}"


def _purpose(record: DnsRecord) -> str:
    if record.type == "MX":
        return "the MX record"
    return "the DMARC record" if record.name.startswith("_dmarc.") else "the SPF record"


def _compared(record: DnsRecord, facts: DnsFacts, hostname: str) -> DnsRecord:
    if record.type == "MX":
        return _settled(record, facts.mx, hostname.lower() in facts.mx.values)
    if record.name.startswith("_dmarc."):
        return _one_text(record, facts.dmarc, "v=dmarc1")
    return _one_text(record, facts.txt, "v=spf1")


def _one_text(record: DnsRecord, answer: DnsAnswer, version: str) -> DnsRecord:
    ours = tuple(text for text in answer.values if _is_of(text, version))
    # Two SPF or two DMARC records count as none (RFC 7208 §4.5): the state is Different.
    return _settled(record, DnsAnswer(ours, answer.trouble), len(ours) == 1)


def _is_of(text: str, version: str) -> bool:
    head = text[: len(version)].lower()
    return head == version and text[len(version) : len(version) + 1] in ("", " ", ";")


def _settled(record: DnsRecord, answer: DnsAnswer, fits: bool) -> DnsRecord:
    if answer.trouble:
        return DnsRecord(record.name, record.type, record.value)
    state = State.FOUND if fits else State.DIFFERENT if answer.values else State.MISSING
    found = " | ".join(answer.values) if state is State.DIFFERENT else ""
    return DnsRecord(record.name, record.type, record.value, state, found)
