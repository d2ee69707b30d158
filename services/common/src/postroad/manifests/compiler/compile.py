"""
Compiles all declared objects into the entries to publish and the conditions of every object.

This is a pure function, so `postroad check`, `postroad up` and the operator have the same results,
and the same objects give the same bytes. A bad object does not affect the others. It keeps its last
good form in force while its manifest, Secret or Relay is wrong. It is removed if a person decided
so: by deleting it, by withdrawing consent, or by an older object with the same name.

Order matters only for conflicts: of two objects that claim one name, the older one wins, by
creation time, then namespace and name; in files, the first one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from postroad.manifests.compiler.claims import OF_FILES, Claims, Evidence, Grants, condition
from postroad.manifests.compiler.entries import (
    UNVERIFIED_LOGIN,
    client_entry,
    domain_entry,
    logs_in_unverified,
    quota_entry,
    relay_entry,
)
from postroad.manifests.compiler.findings import (
    REMOVING,
    Finding,
    conditions,
    invalid,
    refused,
)
from postroad.manifests.compiler.pools import EgressPools
from postroad.manifests.compiler.references import References, allowed_senders
from postroad.manifests.compiler.result import Compiled, Condition, ConditionType, Reason
from postroad.manifests.compiler.size import Bound
from postroad.manifests.compiler.usernames import Username, Usernames
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.quota import QuotaSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import Declared, Kind, Objects, Reference
from postroad.policy.model import Client, Domain, Entry, ObjectKey, Reach
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.spool.lanes.layout import Layout
from postroad.spool.wire.payload import LARGEST_VALUE

_E = TypeVar("_E", bound=Domain | Client)

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
) -> Compiled:
    """
    Return the entries to publish and every object's conditions.

    `last_good` has the published entries, by entry key. A keyring salts password verifiers;
    `verifiers` may have some already. `largest_entry` is the largest entry that the queue stores,
    in octets. `claims` says whose Domains take the mail of other namespaces; as it stands, all.
    `replicated` is the queue's layout if its servers are replicated: that bounds the pools.
    """
    last_good = last_good or {}
    verifiers = verifiers or Verifiers(keyrings[Reader.INGRESS], published=last_good.values())
    compiler = _Compiler(
        objects,
        verifiers,
        last_good,
        Bound(keyrings, largest_entry),
        claims,
        EgressPools(replicated),
    )
    by_age: dict[Kind, list[Declared]] = {kind: [] for kind in Kind}
    for declared in sorted(objects.declared, key=_age):
        by_age[declared.reference.kind].append(declared)
    for kind, compile_one in (
        (Kind.DOMAIN_GRANT, compiler.domain_grant),
        (Kind.RELAY, compiler.relay),
        (Kind.DOMAIN, compiler.domain),
    ):
        for declared in by_age[kind]:
            compile_one(declared)
    compiler.decide_claims(by_age[Kind.DOMAIN])
    by_age[Kind.CLIENT] = compiler.by_username(by_age[Kind.CLIENT])
    for kind, compile_one in ((Kind.CLIENT, compiler.client), (Kind.QUOTA, compiler.quota)):
        for declared in by_age[kind]:
            compile_one(declared)
    return Compiled(
        dict(sorted(compiler.entries.items())), dict(sorted(compiler.conditions.items()))
    )


def _age(declared: Declared) -> tuple[datetime, int, ObjectKey]:
    if declared.created is None:
        return (_IN_FILES, declared.order, declared.reference.key)
    return (declared.created, 0, declared.reference.key)


class _Compiler:
    """One compilation. Kinds come in the order of their references, objects oldest first."""

    def __init__(
        self,
        objects: Objects,
        verifiers: Verifiers,
        last_good: Mapping[str, Entry],
        bound: Bound,
        claims: Claims,
        pools: EgressPools,
    ) -> None:
        self._verifiers = verifiers
        self._last_good = last_good
        self._bound = bound
        self._pools = pools
        self._claims = claims
        self._grants = Grants(objects, claims)
        self._names: dict[tuple[str, str], ObjectKey] = {}  # those that Domains of a namespace have
        self._domains: dict[str, Domain] = {}  # by name, those that strangers' mail is for
        self._usernames = Usernames(claims, objects, last_good)
        self.entries: dict[str, Entry] = {}
        self._references = References(objects, last_good, in_force=self.entries)
        self.conditions: dict[Reference, tuple[Condition, ...]] = {}
        if not objects.complete:
            known = {each.reference.entry_key for each in objects.declared}
            for key, entry in last_good.items():
                if key not in known:
                    self._put_in_force(key, entry)

    def relay(self, declared: Declared) -> None:
        """Compile a Relay."""
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
            findings += self._pools.check(spec.egress.pool)
            note = UNVERIFIED_LOGIN if logs_in_unverified(entry) else ""
            findings += self._too_large(declared, entry)
        self._settle(declared, types, findings, entry, note=note)

    def domain_grant(self, declared: Declared) -> None:
        """Compile a DomainGrant: nothing of it is published, its grants are known already."""
        findings = invalid(declared)
        if not self._grants.counts(declared.reference.key):
            message = f"counts in namespace {self._claims.platform} only, that of the release"
            findings.append(refused(Reason.NOT_IN_RELEASE_NAMESPACE, message))
        self._settle(declared, [ConditionType.ACCEPTED], findings, None)

    def domain(self, declared: Declared) -> None:
        """Compile a Domain; older Domains have claimed their names already."""
        spec, findings = declared.spec, invalid(declared)
        key = declared.reference.key
        entry = kept = self._kept(declared, Domain)
        large: list[Finding] = []
        if isinstance(spec, DomainSpec):
            reference = spec.send.relay_ref if spec.send else None
            relay = self._references.relay(declared, reference, ("send", "relayRef"), findings)
            admits = self._references.admitted(spec.allowed_namespaces)
            entry = domain_entry(key, spec, relay=relay, admits=admits)
            large = self._too_large(declared, entry)
            findings += large
        elif entry is not None:
            self._references.check_consent(declared, entry.relay, ("send", "relayRef"), findings)
        # With findings the last good form may stay in force, so its name must be free, too.
        names = [each.domain for each in (entry, kept if findings else None) if each]
        for name in names:
            owner = self._names.get((key.namespace, name))
            if owner:
                message = f"{name} is taken by Domain {owner}, which is older; remove one"
                findings.append(refused(Reason.DOMAIN_CONFLICT, message, "domain"))
                entry = None
                break
        # A mistake in how a Domain sends must not make its incoming mail be refused with 550.
        fallback = None
        fitting = kept if large and entry else entry
        if findings and fitting and fitting.receive:
            fallback = replace(fitting, sends=False, relay=None)
        self._settle(declared, [ConditionType.ACCEPTED], findings, entry, fallback)

    def decide_claims(self, declared: Sequence[Declared]) -> None:
        """Decide whose mail each Domain takes, now that all of them are known, oldest first."""
        told = {each.reference.entry_key: each for each in declared}
        domains = {key: each for key, each in self.entries.items() if isinstance(each, Domain)}
        for key, (domain, evidence) in self._grants.decide(domains, self._last_good, told).items():
            if domain.reach is Reach.NOBODY:
                del self.entries[key]
            else:
                self.entries[key] = domain
            if domain.reach in (Reach.EVERYBODY, Reach.STRANGERS):
                self._domains[domain.domain] = domain
            if key in told:
                self._tell_claim(told[key], domain, evidence)

    def _tell_claim(self, declared: Declared, domain: Domain, evidence: Evidence | None) -> None:
        said = condition(domain, evidence, self._claims, declared.generation)
        if domain.reach is Reach.NOBODY:
            lost = refused(Reason.DOMAIN_CONFLICT, said.message, "domain")
            self.conditions[declared.reference] = conditions(
                declared, [ConditionType.ACCEPTED], [lost], stale=False
            )
        self.conditions[declared.reference] += (said,)

    def by_username(self, clients: Sequence[Declared]) -> list[Declared]:
        """Return Clients, given oldest first, in the order in which they get their usernames."""
        return self._usernames.in_order(clients, self._domains)

    def client(self, declared: Declared) -> None:
        """Compile a Client."""
        spec, findings, key = declared.spec, invalid(declared), declared.reference.key
        types = [ConditionType.ACCEPTED]
        entry = kept = self._kept(declared, Client)
        username = Username(None)
        denied: list[Finding] = []
        if isinstance(spec, ClientSpec):
            types.append(ConditionType.SENDERS_ALLOWED)
            login = None
            if spec.auth is not None:
                types.append(ConditionType.SECRETS_RESOLVED)
                secret = spec.auth.secret_ref.name
                login = self._references.credentials(declared, secret, ("auth",), findings)
            if login is not None:
                username = self._usernames.allowed(key, login.username)
                login = replace(login, username=username.name or login.username)
            entry = client_entry(
                key,
                spec,
                username=login.username if login else None,
                verifier=self._verifiers.of(key, login) if login else None,
                senders=allowed_senders(declared, spec.senders, self._domains, denied),
                relay=self._references.relay(declared, spec.relay_ref, ("relayRef",), findings),
            )
            findings += self._too_large(declared, entry)
        elif kept is not None:
            self._references.check_consent(declared, kept.relay, ("relayRef",), findings)
        if findings:  # the last good form may stay in force, so its username must be free
            kept_name = kept.username if kept is not None else None
            username = self._usernames.allowed(key, kept_name) if kept_name else Username(None)
        usable = _usable(kept if findings else entry, username, findings)
        if username.finding is not None:
            findings.append(username.finding)
        self._settle(declared, types, findings + denied, entry, usable)

    def quota(self, declared: Declared) -> None:
        """Compile a Quota."""
        spec, entry = declared.spec, None
        if isinstance(spec, QuotaSpec):
            entry = quota_entry(declared.reference.key, spec)
        self._settle(declared, [ConditionType.ACCEPTED], invalid(declared), entry)

    def _settle(
        self,
        declared: Declared,
        types: list[ConditionType],
        findings: list[Finding],
        entry: Entry | None,
        fallback: Entry | None = None,
        note: str = "",
    ) -> None:
        """Put the entry in force; with findings, the last good one or the fallback instead."""
        in_force, stale = entry, False
        if findings:
            kept = self._last_good.get(declared.reference.entry_key)
            decided = any(finding.reason in REMOVING for finding in findings)
            only_senders = all(f.type is ConditionType.SENDERS_ALLOWED for f in findings)
            stale = kept is not None and not decided and not only_senders
            in_force = kept if stale else fallback
        if in_force is not None:
            self._put_in_force(declared.reference.entry_key, in_force)
        self.conditions[declared.reference] = conditions(
            declared, types, findings, stale=stale, note=note
        )

    def _too_large(self, declared: Declared, entry: Entry) -> list[Finding]:
        stored = self._last_good.get(declared.reference.entry_key)
        return self._bound.check(declared, entry, stored)

    def _put_in_force(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        if isinstance(entry, Domain):
            self._names[entry.key.namespace, entry.domain] = entry.key
        if isinstance(entry, Client):
            self._usernames.take(entry)

    def _kept(self, declared: Declared, of: type[_E]) -> _E | None:
        entry = self._last_good.get(declared.reference.entry_key)
        return entry if isinstance(entry, of) else None


def _usable(client: Client | None, username: Username, findings: list[Finding]) -> Client | None:
    """Return what of a Client may be in force, in spite of what is wrong with its username."""
    if client is None or not client.senders:
        return None
    if username.finding is None:
        return None if findings else client
    if username.name is None or any(finding.reason in REMOVING for finding in findings):
        return None
    return replace(client, username=username.name)
