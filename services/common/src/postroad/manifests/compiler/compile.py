"""
Compiles all declared objects into the entries to publish and the conditions of every object.

This is a pure function, so `postroad check`, `postroad up` and the operator have the same results,
and the same objects give the same bytes. A bad object does not affect the others. It keeps its last
good form in force while its manifest, Secret or Relay is wrong. It is removed if a person decided
so: by deleting it, by withdrawing consent, or by an older object with the same name.

Order matters only for conflicts: of two objects that claim one name, the older one wins, by
creation time, then namespace and name; in files, the first one.

Compiling the same objects again on top of what the last compilation published changes no entry, but
for passwords that it has postponed. So it does not matter how often the operator compiles.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from postroad.manifests.compiler.bounds import Bound, EgressPools, RelayPool
from postroad.manifests.compiler.claims import OF_FILES, Claims, Grants
from postroad.manifests.compiler.clients import Clients
from postroad.manifests.compiler.domains import Domains
from postroad.manifests.compiler.entries import (
    UNVERIFIED_LOGIN,
    logs_in_unverified,
    quota_entry,
    relay_entry,
)
from postroad.manifests.compiler.findings import Finding, Settled, invalid, refused, settle
from postroad.manifests.compiler.references import References
from postroad.manifests.compiler.result import Compiled, Condition, ConditionType, Reason
from postroad.manifests.compiler.usernames import Usernames
from postroad.manifests.kinds.quota import QuotaSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import Declared, Kind, Objects, Reference
from postroad.policy.model import Client, Domain, Entry, ObjectKey, Relay
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.spool.lanes.layout import Layout
from postroad.spool.wire.payload import LARGEST_VALUE

_IN_FILES = datetime.max.replace(tzinfo=UTC)


def compile_objects(
    objects: Objects,
    *,
    keyrings: Keyrings,
    last_good: Mapping[str, Entry] | None = None,
    verifiers: Verifiers | None = None,
    largest_entry: int = LARGEST_VALUE,
    claims: Claims = OF_FILES,
    replicated: Layout | None = None,
    pools: Collection[str] = (),
) -> Compiled:
    """
    Return the entries to publish and every object's conditions.

    `last_good` has the published entries, by entry key. A keyring salts password verifiers;
    `verifiers` may have some already, and postpone others. `largest_entry` is the largest entry
    that the queue stores, in octets. `claims` says whose Domains take the mail of other namespaces;
    as it stands, all. `replicated` is the queue's layout if its servers are replicated: that bounds
    the pools. `pools` are those of whoever runs the relay, which any Relay may name.
    """
    last_good = last_good or {}
    verifiers = verifiers or Verifiers(keyrings[Reader.INGRESS], published=last_good.values())
    verifiers.begin()
    bound = Bound(keyrings, largest_entry)
    compiler = _Compiler(objects, last_good, bound, claims)
    by_age: dict[Kind, list[Declared]] = {kind: [] for kind in Kind}
    for declared in sorted(objects.declared, key=_age):
        by_age[declared.reference.kind].append(declared)
    for declared in by_age[Kind.DOMAIN_GRANT]:
        compiler.domain_grant(declared)
    compiler.relays(by_age[Kind.RELAY], replicated, pools)
    domains = compiler.domains(by_age[Kind.DOMAIN])
    compiler.clients(by_age[Kind.CLIENT], domains, verifiers)
    for declared in by_age[Kind.QUOTA]:
        compiler.quota(declared)
    return Compiled(
        dict(sorted(compiler.entries.items())), dict(sorted(compiler.conditions.items()))
    )


def _age(declared: Declared) -> tuple[datetime, int, ObjectKey]:
    if declared.created is None:
        return (_IN_FILES, declared.order, declared.reference.key)
    return (declared.created, 0, declared.reference.key)


@dataclass(frozen=True, slots=True)
class _CompiledRelay:
    """A Relay before it is known whether the servers bear its pool."""

    declared: Declared
    types: Sequence[ConditionType]
    findings: list[Finding]
    entry: Relay | None
    note: str


class _Compiler:
    """One compilation. Kinds come in the order of their references, objects oldest first."""

    def __init__(
        self,
        objects: Objects,
        last_good: Mapping[str, Entry],
        bound: Bound,
        claims: Claims,
    ) -> None:
        self._last_good = last_good
        self._bound = bound
        self._claims = claims
        self._grants = Grants(objects, claims)
        known = {each.reference.entry_key for each in objects.declared}
        self._unlisted = (
            {}
            if objects.complete
            else {key: entry for key, entry in last_good.items() if key not in known}
        )
        self.entries: dict[str, Entry] = dict(self._unlisted)
        self._references = References(objects, last_good, in_force=self.entries)
        self.conditions: dict[Reference, tuple[Condition, ...]] = {}

    def relays(
        self, declared: Sequence[Declared], replicated: Layout | None, pools: Collection[str]
    ) -> None:
        """Compile Relays, given oldest first."""
        unlisted = {e.egress_path.pool for e in self._unlisted.values() if isinstance(e, Relay)}
        compiled = [self._relay(each) for each in declared]
        egress_pools = EgressPools(replicated, unlisted.union(pools))
        too_many = egress_pools.check([self._pool(each) for each in compiled])
        for each, findings in zip(compiled, too_many, strict=True):
            each.findings.extend(findings)
            self._settle(each.declared, each.types, each.findings, each.entry, each.note)

    def _pool(self, compiled: "_CompiledRelay") -> RelayPool:
        kept = self._last_good.get(compiled.declared.reference.entry_key)
        entry = compiled.entry if not compiled.findings else None
        return RelayPool(
            entry.egress_path.pool if entry is not None else None,
            kept.egress_path.pool if isinstance(kept, Relay) else None,
        )

    def _relay(self, declared: Declared) -> "_CompiledRelay":
        spec, findings = declared.spec, invalid(declared)
        types = [ConditionType.ACCEPTED]
        entry, note = None, ""
        if isinstance(spec, RelaySpec):
            credentials = None
            if spec.login is not None:
                types.append(ConditionType.SECRETS_RESOLVED)
                where = ("auth",) if spec.auth else ("smarthosts", 0, "auth")
                credentials = self._references.credentials(
                    declared,
                    *(spec.login, where, findings),
                    hosts=[hop.host for hop in spec.smarthosts],
                )
            entry = relay_entry(declared.reference.key, spec, credentials)
            note = UNVERIFIED_LOGIN if logs_in_unverified(entry) else ""
            findings += self._too_large(declared, entry)
        return _CompiledRelay(declared, types, findings, entry, note)

    def domain_grant(self, declared: Declared) -> None:
        """Compile a DomainGrant: nothing of it is published, its grants are known already."""
        findings = invalid(declared)
        if not self._grants.counts(declared.reference.key):
            message = f"counts in namespace {self._claims.platform} only, that of the release"
            findings.append(refused(Reason.NOT_IN_RELEASE_NAMESPACE, message))
        self._settle(declared, [ConditionType.ACCEPTED], findings, None)

    def domains(self, declared: Sequence[Declared]) -> Mapping[str, Domain]:
        """Compile Domains, given oldest first; return those of strangers' mail, by name."""
        unlisted = {key: each for key, each in self._unlisted.items() if isinstance(each, Domain)}
        domains = Domains(self._references, self._bound, self._grants, self._last_good, unlisted)
        compiled = domains.compile(declared, self._claims)
        for key in unlisted:
            del self.entries[key]
        self.entries.update(compiled.entries)
        self.conditions.update(compiled.conditions)
        return compiled.by_name

    def clients(
        self, declared: Sequence[Declared], domains: Mapping[str, Domain], verifiers: Verifiers
    ) -> None:
        """Compile Clients, given oldest first."""
        usernames = Usernames(self._claims)
        for entry in self._unlisted.values():
            if isinstance(entry, Client):
                usernames.take(entry)
        clients = Clients(self._references, self._bound, verifiers, usernames, self._last_good)
        for each, settled in clients.compile(declared, domains):
            self._put(each, settled)

    def quota(self, declared: Declared) -> None:
        """Compile a Quota."""
        spec, entry = declared.spec, None
        if isinstance(spec, QuotaSpec):
            entry = quota_entry(declared.reference.key, spec)
        self._settle(declared, [ConditionType.ACCEPTED], invalid(declared), entry)

    def _settle(
        self,
        declared: Declared,
        types: Sequence[ConditionType],
        findings: list[Finding],
        entry: Entry | None,
        note: str = "",
    ) -> None:
        kept = self._last_good.get(declared.reference.entry_key)
        self._put(declared, settle(declared, types, findings, entry, kept=kept, note=note))

    def _put(self, declared: Declared, settled: Settled) -> None:
        if settled.in_force is not None:
            self.entries[declared.reference.entry_key] = settled.in_force
        self.conditions[declared.reference] = settled.conditions

    def _too_large(self, declared: Declared, entry: Entry) -> list[Finding]:
        stored = self._last_good.get(declared.reference.entry_key)
        return self._bound.check(declared, entry, stored)
