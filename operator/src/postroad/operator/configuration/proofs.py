"""
What the DNS proves of claims to names, over time. No I/O, and the time is an argument.

A proof outlives what may pass: a name server that does not answer for UNANSWERED, and a record that
is missing for DENIED, which may be somebody's mistake. A TXT record that is missing while an MX
record still names this relay is such a mistake, too: the claim does not become one by MX at once,
which others may have as well. What is published when an operator starts is remembered as if the DNS
had just confirmed it, so a restart while the DNS is away changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from postroad.manifests.compiler.claims import ClaimKey, Evidence, proof_text
from postroad.operator.status.dns_facts import DnsFacts
from postroad.policy.model import ClaimBasis, Domain, Entry, Reach

DENIED = timedelta(days=1)
UNANSWERED = timedelta(days=7)
_BY_DNS = frozenset({ClaimBasis.TXT, ClaimBasis.MX, ClaimBasis.EARLIER})


@dataclass(frozen=True, slots=True)
class Proof:
    """
    What is known of one claim.

    `seen`: when the DNS last confirmed it. `denied`: since when the DNS says otherwise, or says
    less: that there is an MX record, but no TXT record as before.
    """

    evidence: Evidence
    seen: datetime
    denied: datetime | None = None


def evidence_of(facts: DnsFacts, hostname: str, namespace: str) -> Evidence:
    """
    Return what the answers of the DNS prove of a namespace's claim; NONE, uncertain: nothing yet.

    An MX record says that the owner of the name wants this relay, not which namespace. So it proves
    nothing beside TXT records for this relay that name other namespaces.
    """
    of_this_relay = _plain(proof_text(hostname, ""))
    ours = [text for text in map(_plain, facts.proof.values) if text.startswith(of_this_relay)]
    if _plain(proof_text(hostname, namespace)) in ours:
        return Evidence(ClaimBasis.TXT)
    if facts.proof.trouble:
        return Evidence(ClaimBasis.NONE, certain=False)
    if ours:
        return Evidence(ClaimBasis.NONE)
    if hostname.lower() in facts.mx.values:
        return Evidence(ClaimBasis.MX)
    return Evidence(ClaimBasis.NONE, certain=not facts.mx.trouble)


def _plain(text: str) -> str:
    """Return a text in lower case without spaces, as people may write it."""
    return "".join(text.lower().split())


def after(before: Proof | None, said: Evidence, now: datetime) -> Proof:
    """Return what is known of a claim once the DNS has said something of it."""
    if before is None or before.evidence.basis is ClaimBasis.NONE:
        return Proof(said, now)
    had = before.evidence.basis
    less = had is ClaimBasis.TXT and said.basis is ClaimBasis.MX
    if said.basis is not ClaimBasis.NONE and not less:
        return Proof(said, now)
    since = before.denied or now if said.certain else before.denied
    if since is not None and now - since >= DENIED:
        return _denied_too_long(before, said, now)
    if said.certain:
        kept = Evidence(had, certain=False, denied=not less)
        return Proof(kept, now if less else before.seen, since)
    lasts = now - before.seen < UNANSWERED
    kept = replace(before.evidence, certain=False)
    return replace(before, evidence=kept) if lasts else Proof(said, now)


def _denied_too_long(before: Proof, said: Evidence, now: datetime) -> Proof:
    if said.certain or before.evidence.denied:
        return Proof(said, now)
    # An MX record was there when the DNS answered last.
    return Proof(Evidence(ClaimBasis.MX, certain=False), before.seen)


class Proofs:
    """
    The proofs of all claims, as far as the DNS was asked in this run.

    `hostname` is the name of this relay that proofs must have, "" where the DNS is not asked.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._known: dict[ClaimKey, Proof] = {}

    @property
    def evidence(self) -> Mapping[ClaimKey, Evidence]:
        """What each claim is worth now."""
        return {key: proof.evidence for key, proof in self._known.items()}

    def remember(self, published: Iterable[Entry], now: datetime) -> None:
        """Take over what was published of Domains that had their names by the DNS, or before it."""
        for entry in published:
            if not isinstance(entry, Domain) or entry.reach is not Reach.EVERYBODY:
                continue
            if entry.claim in _BY_DNS:
                evidence = Evidence(entry.claim, certain=entry.claim is not ClaimBasis.EARLIER)
                self._known[ClaimKey(entry.key.namespace, entry.domain)] = Proof(evidence, now)

    def look(
        self, claims: Collection[ClaimKey], facts: Mapping[str, DnsFacts], now: datetime
    ) -> bool:
        """Judge the claims that there are by what the DNS said last; return whether any changed."""
        before = self.evidence
        self._known = {key: self._known[key] for key in claims if key in self._known}
        for key in claims:
            said = self._said(key, facts.get(key.name))
            if said is not None:
                self._known[key] = after(self._known.get(key), said, now)
        return self.evidence != before

    def _said(self, key: ClaimKey, facts: DnsFacts | None) -> Evidence | None:
        if not self._hostname:
            return Evidence(ClaimBasis.NONE)
        return evidence_of(facts, self._hostname, key.namespace) if facts is not None else None
