"""
Decides which Domain of a name takes the mail of other namespaces.

Whoever may create Domains in one namespace could otherwise take the mail that another namespace
sends to any name. So a Domain counts beyond its own namespace only if the owner of the relay grants
it the name (DomainGrant), or if the DNS proves that the owner of the name wants it. Gateway API's
ReferenceGrant and Knative's ClusterDomainClaim are the models of the grant, and the DNS challenge
of RFC 8555 is the model of the proof. A stranger's mail is nobody's in the cluster: without a
Domain it would be refused, so it goes to the oldest Domain of a name that nobody has proven.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from postroad.manifests.compiler.result import Condition, ConditionType, Reason
from postroad.manifests.kinds.domain_grant import DomainGrantSpec
from postroad.manifests.objects import Kind, Objects
from postroad.policy.model import ClaimBasis, Domain, Entry, ObjectKey, Reach
from postroad.policy.patterns import matching

_UNRIVALLED = frozenset({ClaimBasis.PLATFORM, ClaimBasis.GRANT})


class ClaimKey(NamedTuple):
    """A claim: a namespace has a Domain of this name."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    What proves a claim: `basis` is NONE if nothing does.

    `certain` is False while the DNS did not confirm it, or could not be asked. `denied` is True
    while its last word was that the records are gone.
    """

    basis: ClaimBasis
    certain: bool = True
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """
    What claims are judged by, besides the objects.

    Namespaces in `trusted` need no proof; None trusts all, as with files. Grants count in the
    namespace `platform` only. `dns` has what the DNS says of the claims that it was asked about.
    `hostname` is the name of the relay in the DNS, "" while it has none. `grants` has the last form
    of each DomainGrant that could be read, as far as known.
    """

    trusted: frozenset[str] | None = None
    platform: str | None = None
    dns: Mapping[ClaimKey, Evidence] = field(default_factory=dict)
    hostname: str = ""
    grants: Mapping[ObjectKey, DomainGrantSpec] = field(default_factory=dict)


OF_FILES = Claims()
_TRUSTED = Evidence(ClaimBasis.PLATFORM)


def proof_name(domain: str) -> str:
    """Return the name of the TXT record that proves a claim to a domain."""
    return f"_postroad.{domain}"


def proof_text(hostname: str, namespace: str) -> str:
    """Return the text of the TXT record that proves the claim of a namespace at a relay."""
    return f"relay={hostname}; namespace={namespace}"


class Grants:
    """The DomainGrants that count, and the decisions that follow from them and from the claims."""

    def __init__(self, objects: Objects, claims: Claims) -> None:
        self._claims = claims
        self._given: dict[str, set[str]] = {}  # the namespaces of each pattern
        self._sure = objects.complete
        for each in objects.declared:
            key = each.reference.key
            if each.reference.kind is not Kind.DOMAIN_GRANT or not self.counts(key):
                continue
            spec = each.spec if isinstance(each.spec, DomainGrantSpec) else claims.grants.get(key)
            if spec is None:
                self._sure = False
                continue
            for pattern in spec.domains:
                self._given.setdefault(pattern, set()).update(spec.namespaces)

    def counts(self, grant: ObjectKey) -> bool:
        """Whether a DomainGrant is where only the owner of the relay may write."""
        return self._claims.platform in (None, grant.namespace)

    def decide(
        self,
        domains: Mapping[str, Domain],
        last_good: Mapping[str, Entry],
        declared: Container[str],
    ) -> Mapping[str, tuple[Domain, Evidence | None]]:
        """
        Return Domains, given oldest first, with their reach, and what proves each claim.

        All have the keys of entries. What is not `declared` (it was not listed yet) keeps the claim
        that it has. The evidence is None while nobody was asked.
        """
        found = {
            key: self._evidence(each, last_good.get(key))
            if key in declared
            else Evidence(each.claim)
            for key, each in domains.items()
        }
        names: dict[str, list[str]] = {}
        for key, domain in domains.items():
            names.setdefault(domain.domain, []).append(key)
        decided = {}
        for keys in names.values():
            reaches = _reaches([found[key] for key in keys])
            for key, reach in zip(keys, reaches, strict=True):
                evidence = found[key]
                claim = evidence.basis if evidence is not None else ClaimBasis.NONE
                decided[key] = replace(domains[key], claim=claim, reach=reach), evidence
        return decided

    def _evidence(self, domain: Domain, last_good: Entry | None) -> Evidence | None:
        namespace, name = domain.key.namespace, domain.domain
        if self._claims.trusted is None or namespace in self._claims.trusted:
            return _TRUSTED
        given = self._given
        if given and any(namespace in given.get(pattern, ()) for pattern in matching(name)):
            return Evidence(ClaimBasis.GRANT)
        # What was granted lasts while it is unknown what some DomainGrant gives.
        before = last_good if isinstance(last_good, Domain) else None
        had_it = before and before.claim is ClaimBasis.GRANT and before.domain == name
        if had_it and not self._sure:
            return Evidence(ClaimBasis.GRANT, certain=False)
        return self._claims.dns.get(ClaimKey(namespace, name))


def _reaches(evidence: Sequence[Evidence | None]) -> Sequence[Reach]:
    """
    Return the reach of all Domains of one name, given the oldest first.

    The best claim has the name, of equals the oldest. A name that nobody has proven may mean a
    Domain of its own in each namespace.
    """
    ranks = [_rank(each) for each in evidence]
    best = max(ranks)
    found = Reach.EVERYBODY if best else Reach.STRANGERS
    if len(ranks) == 1:
        return [found]
    first, others = ranks.index(best), Reach.NOBODY if best else Reach.HOME
    return [found if index == first else others for index in range(len(ranks))]


def _rank(evidence: Evidence | None) -> int:
    """
    Return what a claim is worth: a TXT record names the namespace, an MX record does not.

    So a look-up that fails makes no claim by MX better than one by TXT.
    """
    if evidence is None or evidence.basis is ClaimBasis.NONE:
        return 0
    if evidence.basis in _UNRIVALLED:
        return 8
    if evidence.denied:
        return 2 if evidence.basis is ClaimBasis.TXT else 1
    if evidence.basis is ClaimBasis.EARLIER:
        return 3
    best = 7 if evidence.basis is ClaimBasis.TXT else 5
    return best if evidence.certain else best - 1


def condition(
    domain: Domain, evidence: Evidence | None, claims: Claims, generation: int
) -> Condition:
    """Return what a Domain's status says of its claim; `domain` has its reach already."""
    reason, message = _said(domain, evidence)
    if domain.reach is not Reach.EVERYBODY and domain.claim not in _UNRIVALLED:
        message = f"{message}; {_advice(domain, claims)}"
    proven = domain.reach is Reach.EVERYBODY
    return Condition(
        ConditionType.DOMAIN_CLAIMED, proven, reason, message, generation, ("spec", "domain")
    )


def _said(domain: Domain, evidence: Evidence | None) -> tuple[Reason, str]:
    name, namespace = domain.domain, domain.key.namespace
    if domain.reach is Reach.NOBODY:
        return Reason.CLAIMED_ELSEWHERE, f"another namespace has a better or older claim to {name}"
    if domain.reach is Reach.HOME:
        message = (
            f"nothing proves that {name} belongs to namespace {namespace}, so the Domain takes the"
            " mail of its own namespace only; an older one of another namespace has strangers' mail"
        )
        return Reason.NOT_PROVEN, message
    if evidence is None:
        return Reason.PENDING, "the DNS is asked in a moment"
    if evidence.basis is ClaimBasis.NONE:
        message = (
            f"nothing proves that {name} belongs to namespace {namespace}, so the mail that other"
            " namespaces send to it does not go here"
        )
        if evidence.certain:
            return Reason.NOT_PROVEN, message
        return Reason.LOOKUP_FAILED, f"the DNS could not be asked, and {message}"
    if evidence.basis is ClaimBasis.GRANT and not evidence.certain:
        message = f"a DomainGrant gave {name} to namespace {namespace}"
        return Reason.GRANTED, f"{message}; it counts while another cannot be read"
    if not evidence.certain:
        message = (
            f"the DNS does not confirm the claim to {name} now; it counts until the DNS has denied"
            " it for a day, or has not answered for a week"
        )
        return Reason.NOT_CONFIRMED, message
    if evidence.basis is ClaimBasis.GRANT:
        return Reason.GRANTED, f"a DomainGrant gives {name} to namespace {namespace}"
    if evidence.basis is ClaimBasis.TXT:
        where = proof_name(name)
        return Reason.TXT_RECORD, f"the TXT record at {where} names this relay and the namespace"
    if evidence.basis is ClaimBasis.MX:
        return Reason.MX_RECORD, f"an MX record of {name} names this relay"
    return Reason.TRUSTED, f"namespace {namespace} needs no proof"


def _advice(domain: Domain, claims: Claims) -> str:
    grant = "ask whoever runs the relay for a DomainGrant"
    if not claims.hostname:
        return grant
    text = proof_text(claims.hostname, domain.key.namespace)
    return f'publish the TXT record {proof_name(domain.domain)} "{text}", or {grant}'
