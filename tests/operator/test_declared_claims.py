"""A manifest that cannot be read ends neither the claim of a Domain nor what was granted."""

from datetime import UTC, datetime

import pytest

from postroad.manifests.compiler.claims import ClaimKey, Claims
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Objects
from postroad.operator.configuration.declared_claims import claims_of, grants_of
from postroad.operator.configuration.proofs import Proofs
from postroad.operator.settings import LeaseSettings, OperatorSettings
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts
from postroad.policy.model import Domain, ObjectKey, Reach
from postroad_harness.compiling import compiled, objects_of

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NAME, RELAY = "a.example", "relay.example"
BY_MX = DnsFacts(DnsAnswer((RELAY,)), DnsAnswer(), DnsAnswer())
SHOP, WORK = ClaimKey("shop", NAME), ClaimKey("work", NAME)


def domain(namespace: str, day: int, *, name: str = NAME, more: str = "") -> str:
    age = f"creationTimestamp: '2026-01-{day:02}T00:00:00Z'"
    return (
        f"kind: Domain\nmetadata: {{name: d, namespace: {namespace}, {age}}}\n"
        f"spec: {{domain: {name}, send: {{}}{more}}}"
    )


BROKEN = ", nonsense: 1"
SENT_BY_NONE = domain("shop", 1, name="b.example").replace("{}", "{relayRef: {name: none}}")


def judged(proofs: Proofs, *texts: str, before: Compiled | None = None) -> Compiled:
    """Compile as the operator does: by the claims that there are, and what the DNS says of them."""
    published = before.entries if before else {}
    keys = claims_of(objects_of(*texts).declared, published)
    proofs.look(keys, {NAME: BY_MX}, NOW)
    claims = Claims(frozenset({"mail"}), "mail", proofs.evidence, RELAY)
    return compiled(*texts, last_good=before, claims=claims)


def owner(outcome: Compiled) -> str:
    """Return the namespace that has everybody's mail to the name."""
    [found] = [
        entry.key.namespace
        for entry in outcome.entries.values()
        if isinstance(entry, Domain) and entry.domain == NAME and entry.reach is Reach.EVERYBODY
    ]
    return found


def test_a_mistake_in_an_edit_does_not_hand_the_name_to_another_namespace() -> None:
    proofs, rival = Proofs(RELAY), domain("work", 2)
    before = judged(proofs, domain("shop", 1), rival)
    assert owner(before) == "shop"
    # The form with the name stays in force also if the new one has another name.
    for edited in (domain("shop", 1, more=BROKEN), SENT_BY_NONE):
        after = judged(proofs, edited, rival, before=before)
        assert owner(after) == "shop"
        assert owner(judged(proofs, edited, rival, before=after)) == "shop"


def test_the_claims_are_those_of_the_manifests_and_of_what_is_published() -> None:
    published = judged(Proofs(RELAY), domain("shop", 1)).entries
    readable = objects_of(domain("work", 2)).declared
    assert claims_of(readable, {}) == {WORK}
    assert claims_of(readable, published) == {WORK}  # a Domain that is deleted claims nothing
    renamed = objects_of(domain("shop", 1, name="b.example")).declared
    assert claims_of(renamed, published) == {SHOP, ClaimKey("shop", "b.example")}
    broken = objects_of(domain("shop", 1, more=BROKEN)).declared
    assert claims_of(broken, published) == {SHOP}
    assert claims_of(broken, {}) == frozenset()


def grants(*texts: str) -> Objects:
    return objects_of(
        *(
            f"kind: DomainGrant\nmetadata: {{name: {name}, namespace: mail}}\nspec: {spec}"
            for name, _, spec in (text.partition(" ") for text in texts)
        )
    )


def test_of_a_grant_that_cannot_be_read_the_last_form_is_known() -> None:
    first = grants_of(
        grants(
            "g {domains: [a.example], namespaces: [shop]}",
            "other {domains: [b.example], namespaces: [shop]}",
        ).declared,
        {},
    )
    broken = grants("g {domain: a.example}", "new {domain: c.example}").declared
    after = grants_of(broken, first)
    key = ObjectKey("mail", "g")
    assert after == {key: first[key]}  # the other one is deleted
    assert grants_of(broken, after) == after


@pytest.mark.parametrize(
    ("followed", "trusted"),
    [((), {"mail"}), (("shop",), {"mail", "shop"}), (("shop", "work"), {"mail"})],
)
def test_a_second_namespace_to_follow_ends_the_trust_in_the_first(
    followed: tuple[str, ...], trusted: set[str]
) -> None:
    lease = LeaseSettings(namespace="mail")
    assert OperatorSettings(lease=lease, watch_namespaces=followed).trusted == trusted
