"""
Compiles Domains: which form of each is in force, and whose mail it takes.

With a mistake, the last good form stays in force, unless its name is another Domain's now: an older
one's of the namespace, or that of a namespace with a better claim. Which names are lost so depends
on which forms are in force. So all Domains are compiled again without a form that turns out to have
lost its name, until none has. The result is then the same as if it were compiled again later, when
that form is not published any more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from postroad.manifests.compiler.bounds import Bound
from postroad.manifests.compiler.claims import Claims, Evidence, Grants, condition
from postroad.manifests.compiler.entries import domain_entry
from postroad.manifests.compiler.findings import (
    Finding,
    Settled,
    conditions,
    invalid,
    refused,
    settle,
)
from postroad.manifests.compiler.references import References
from postroad.manifests.compiler.result import Condition, ConditionType, Reason
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.objects import Declared, Reference
from postroad.policy.model import Domain, Entry, ObjectKey, Reach

_ACCEPTED = (ConditionType.ACCEPTED,)


class CompiledDomains(NamedTuple):
    """The Domains in force by entry key, their conditions, and by name those of strangers' mail."""

    entries: Mapping[str, Domain]
    conditions: Mapping[Reference, tuple[Condition, ...]]
    by_name: Mapping[str, Domain]


class Domains:
    """The Domains of one compilation; `unlisted` ones stay as they are, by entry key."""

    def __init__(
        self,
        references: References,
        bound: Bound,
        grants: Grants,
        last_good: Mapping[str, Entry],
        unlisted: Mapping[str, Domain],
    ) -> None:
        self._references = references
        self._bound = bound
        self._grants = grants
        self._last_good = last_good
        self._unlisted = unlisted

    def compile(self, declared: Sequence[Declared], claims: Claims) -> CompiledDomains:
        """Compile Domains, given oldest first."""
        told = {each.reference.entry_key: each for each in declared}
        lost: set[str] = set()  # those whose last good form has lost its name
        while True:
            in_force = {key: each for key, each in self._unlisted.items() if key not in lost}
            names = {(each.key.namespace, each.domain): each.key for each in in_force.values()}
            settled: dict[str, Settled] = {}
            for key, each in told.items():
                settled[key] = found = self._domain(each, names, kept=key not in lost)
                if isinstance(found.in_force, Domain):
                    in_force[key] = found.in_force
                    names[found.in_force.key.namespace, found.in_force.domain] = each.reference.key
            decisions = self._grants.decide(in_force, self._last_good, told)
            more = {
                key
                for key, (domain, _) in decisions.items()
                if domain.reach is Reach.NOBODY and (key not in settled or settled[key].stale)
            }
            if not more:
                return _concluded(told, settled, decisions, claims)
            lost |= more

    def _domain(
        self, declared: Declared, names: Mapping[tuple[str, str], ObjectKey], *, kept: bool
    ) -> Settled:
        """Settle a Domain, but for its claim; older ones have the `names` that they have."""
        spec, findings = declared.spec, invalid(declared)
        last = self._last(declared) if kept else None
        if last is not None and names.get((last.key.namespace, last.domain)):
            last = None
        if not isinstance(spec, DomainSpec):
            if last is None:
                return settle(declared, _ACCEPTED, findings, None)
            self._references.check_consent(declared, last.relay, ("send", "relayRef"), findings)
            fallback = _receiving(last)
            return settle(declared, _ACCEPTED, findings, None, kept=last, fallback=fallback)
        entry = self._entry(declared, spec, findings)
        owner = names.get((entry.key.namespace, entry.domain))
        if owner is not None:
            message = f"{entry.domain} is taken by Domain {owner}, which is older; remove one"
            findings.append(refused(Reason.DOMAIN_CONFLICT, message, "domain"))
            return settle(declared, _ACCEPTED, findings, None)
        large = self._bound.check(
            declared, entry, self._last_good.get(declared.reference.entry_key)
        )
        # A mistake in how a Domain sends must not make its incoming mail be refused with 550.
        fallback = _receiving(last if large else entry)
        if last is not None and not large:
            unclaimed = replace(last, claim=entry.claim, reach=entry.reach)
            last = last if unclaimed != fallback else None  # that is no last good form
        findings += large
        return settle(declared, _ACCEPTED, findings, entry, kept=last, fallback=fallback)

    def _entry(self, declared: Declared, spec: DomainSpec, findings: list[Finding]) -> Domain:
        reference = spec.send.relay_ref if spec.send else None
        relay = self._references.relay(declared, reference, ("send", "relayRef"), findings)
        admits = self._references.admitted(spec.allowed_namespaces)
        return domain_entry(declared.reference.key, spec, relay=relay, admits=admits)

    def _last(self, declared: Declared) -> Domain | None:
        entry = self._last_good.get(declared.reference.entry_key)
        return entry if isinstance(entry, Domain) else None


def _receiving(domain: Domain | None) -> Domain | None:
    """Return a Domain as it receives, without what it sends; None if it does not receive."""
    if domain is None or domain.receive is None:
        return None
    return replace(domain, sends=False, relay=None)


def _concluded(
    told: Mapping[str, Declared],
    settled: Mapping[str, Settled],
    decisions: Mapping[str, tuple[Domain, Evidence | None]],
    claims: Claims,
) -> CompiledDomains:
    """Return the Domains in force with their claims, without those that take nobody's mail."""
    entries, by_name = {}, {}
    said = {told[key].reference: each.conditions for key, each in settled.items()}
    for key, (domain, evidence) in decisions.items():
        if domain.reach is not Reach.NOBODY:
            entries[key] = domain
        if domain.reach in (Reach.EVERYBODY, Reach.STRANGERS):
            by_name[domain.domain] = domain
        if key in told:
            of, claim = told[key], condition(domain, evidence, claims, told[key].generation)
            if domain.reach is Reach.NOBODY:
                lost = refused(Reason.DOMAIN_CONFLICT, claim.message, "domain")
                said[of.reference] = conditions(of, _ACCEPTED, [lost], stale=False)
            said[of.reference] += (claim,)
    return CompiledDomains(entries, said, by_name)
