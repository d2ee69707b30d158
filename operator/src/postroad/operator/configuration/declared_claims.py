"""
Which claims there are, by what is declared and what is published. No I/O.

A manifest that cannot be read says nothing new: its last good form stays in force. So the claim of
a Domain in that form is still a claim, which the DNS is asked about, and a DomainGrant still gives
what it gave. Otherwise one mistake in an edit would end a claim at once.
"""

from collections.abc import Iterable, Mapping

from postroad.manifests.compiler.claims import ClaimKey
from postroad.manifests.kinds.domain import DomainSpec
from postroad.manifests.kinds.domain_grant import DomainGrantSpec
from postroad.manifests.objects import Declared, Kind
from postroad.policy.model import Domain, Entry, ObjectKey


def claims_of(declared: Iterable[Declared], published: Mapping[str, Entry]) -> frozenset[ClaimKey]:
    """Return the claims of all declared Domains, with those of the forms that are published."""
    found = set()
    for each in declared:
        reference = each.reference
        if reference.kind is not Kind.DOMAIN:
            continue
        entry = published.get(reference.entry_key)
        for known in (each.spec, entry):
            if isinstance(known, DomainSpec | Domain):
                found.add(ClaimKey(reference.key.namespace, known.domain))
    return frozenset(found)


def grants_of(
    declared: Iterable[Declared], before: Mapping[ObjectKey, DomainGrantSpec]
) -> Mapping[ObjectKey, DomainGrantSpec]:
    """Return the last form of each declared DomainGrant that could be read, as far as known."""
    found = {}
    for each in declared:
        if each.reference.kind is Kind.DOMAIN_GRANT:
            key = each.reference.key
            spec = each.spec if isinstance(each.spec, DomainGrantSpec) else before.get(key)
            if spec is not None:
                found[key] = spec
    return found
