"""Whose mail a Domain takes: a name is proven by a grant or by the DNS, or counts at home only."""

from dataclasses import replace

import pytest

from postroad.manifests.compiler.claims import Claims, Evidence
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.objects import Kind, Reference
from postroad.policy.egress_path import find_egress_path, may_be_otherwise
from postroad.policy.model import ClaimBasis, Domain, ObjectKey, Reach
from postroad.policy.snapshot import Snapshot
from postroad_harness.compiling import compiled, reasons
from postroad_harness.setups.claims import (
    CLIENT,
    GRANT,
    NAME,
    OTHERS,
    SHOP,
    WORK,
    claimed,
    hosts,
    judged,
    snapshot_of,
)


def test_a_name_that_nobody_has_proven_counts_at_home_and_for_strangers() -> None:
    outcome = compiled(SHOP, *OTHERS, claims=judged())
    assert hosts(outcome) == {"shop": "shop", "work": "by MX", "app": "by MX", "strangers": "shop"}
    status, reason, message = claimed(outcome, "shop")
    assert (status, reason) == (False, "NotProven")
    assert '_postroad.bank.example "relay=relay.example; namespace=shop"' in message
    assert outcome.ready(Reference(Kind.DOMAIN, ObjectKey("shop", "d")))


def test_who_claims_an_unproven_name_first_keeps_nobody_from_claiming_it() -> None:
    outcome = compiled(SHOP, WORK, *OTHERS, claims=judged())
    assert hosts(outcome) == {"shop": "shop", "work": "work", "app": "by MX", "strangers": "shop"}
    assert claimed(outcome, "work")[:2] == (False, "NotProven")
    assert outcome.ready(Reference(Kind.DOMAIN, ObjectKey("work", "d")))


@pytest.mark.parametrize(
    ("dns", "grant", "reason"),
    [
        ({}, GRANT % ("mail", NAME, "work"), "Granted"),
        ({}, GRANT % ("mail", "*.example", "work"), "Granted"),
        ({}, GRANT % ("mail", "*", "more, work"), "Granted"),
        ({"work": Evidence(ClaimBasis.TXT)}, None, "TXTRecord"),
        ({"work": Evidence(ClaimBasis.MX)}, None, "MXRecord"),
        ({"work": Evidence(ClaimBasis.MX, certain=False)}, None, "NotConfirmed"),
        ({"shop": Evidence(ClaimBasis.MX), "work": Evidence(ClaimBasis.TXT)}, None, "TXTRecord"),
        # A name server that fails does not hand a name over.
        (
            {"shop": Evidence(ClaimBasis.MX), "work": Evidence(ClaimBasis.TXT, certain=False)},
            None,
            "NotConfirmed",
        ),
        (
            {
                "shop": Evidence(ClaimBasis.MX, certain=False),
                "work": Evidence(ClaimBasis.TXT, certain=False),
            },
            None,
            "NotConfirmed",
        ),
        (
            {
                "shop": Evidence(ClaimBasis.TXT, certain=False, denied=True),
                "work": Evidence(ClaimBasis.MX, certain=False),
            },
            None,
            "NotConfirmed",
        ),
        (
            {
                "shop": Evidence(ClaimBasis.TXT, certain=False, denied=True),
                "work": Evidence(ClaimBasis.EARLIER, certain=False),
            },
            None,
            "NotConfirmed",
        ),
        (
            {
                "shop": Evidence(ClaimBasis.MX, certain=False, denied=True),
                "work": Evidence(ClaimBasis.TXT, certain=False, denied=True),
            },
            None,
            "NotConfirmed",
        ),
        (
            {
                "shop": Evidence(ClaimBasis.EARLIER, certain=False),
                "work": Evidence(ClaimBasis.MX, certain=False),
            },
            None,
            "NotConfirmed",
        ),
        ({"shop": Evidence(ClaimBasis.TXT)}, GRANT % ("mail", NAME, "work"), "Granted"),
    ],
)
def test_the_better_proof_has_the_name_however_young(
    dns: dict[str, Evidence], grant: str | None, reason: str
) -> None:
    outcome = compiled(SHOP, WORK, *OTHERS, *([grant] if grant else []), claims=judged(dns))
    # Also what is of shop: whoever claims a network has the mail of strangers from there.
    assert set(hosts(outcome).values()) == {"work"}
    assert claimed(outcome, "work")[:2] == (True, reason)
    assert claimed(outcome, "shop")[:2] == (False, "ClaimedElsewhere")
    assert reasons(outcome, Kind.DOMAIN, "d", "shop")[:2] == ["DomainConflict", "DomainConflict"]
    assert "domain.shop.d" not in outcome.entries


def test_a_domain_whose_old_name_is_proven_elsewhere_receives_by_its_new_one() -> None:
    """Its manifest has a mistake in how it sends, so its last good form would stay in force."""
    before = compiled(SHOP, *OTHERS, claims=judged())
    renamed = SHOP.replace("bank.example", "new.example").replace("name: out", "name: typo")
    claims = judged({"work": Evidence(ClaimBasis.TXT)})
    after = compiled(renamed, WORK, *OTHERS, last_good=before, claims=claims)
    assert set(hosts(after).values()) == {"work"}
    entry = after.entries["domain.shop.d"]
    assert isinstance(entry, Domain)
    assert entry.domain == "new.example"
    assert reasons(after, Kind.DOMAIN, "d", "shop")[:2] == ["RelayNotFound", "RelayNotFound"]


@pytest.mark.parametrize("claim", [ClaimBasis.TXT, ClaimBasis.MX])
def test_of_equal_proofs_the_oldest_has_the_name(claim: ClaimBasis) -> None:
    dns = {"shop": Evidence(claim), "work": Evidence(claim)}
    assert hosts(compiled(WORK, SHOP, *OTHERS, claims=judged(dns)))["app"] == "shop"


def test_the_release_s_own_namespace_needs_no_proof() -> None:
    outcome = compiled(WORK, *OTHERS, claims=replace(judged(), trusted=frozenset({"work"})))
    assert hosts(outcome)["app"] == "work"
    assert claimed(outcome, "work")[:2] == (True, "Trusted")


def test_files_need_no_proof() -> None:
    assert hosts(compiled(WORK, *OTHERS))["app"] == "work"


def test_before_the_dns_was_asked_nothing_changes_for_others() -> None:
    outcome = compiled(WORK, *OTHERS, claims=judged({}))
    assert hosts(outcome)["app"] == "by MX"
    assert claimed(outcome, "work")[:2] == (False, "Pending")
    trouble = {"work": Evidence(ClaimBasis.NONE, certain=False)}
    assert claimed(compiled(WORK, claims=judged(trouble)), "work")[:2] == (False, "LookupFailed")


def sends_through(outcome: Compiled, namespace: str) -> str:
    """Return the Relay that carries what a namespace's Client sends as the name."""
    assert f"client.{namespace}.c" in outcome.entries
    path = find_egress_path(
        snapshot_of(outcome),
        client=ObjectKey(namespace, "c"),
        sender_domain=NAME,
        recipient_domain="far.example",
    )
    return path.name if path else ""


def test_an_unproven_domain_neither_carries_nor_forbids_the_mail_of_others() -> None:
    # It admits every namespace, and names a Relay for what they send as its name.
    outcome = compiled(SHOP, *OTHERS, claims=judged())
    assert sends_through(outcome, "app") == "relay:app/out"
    closed = SHOP.replace("{from: All}", "{from: Same}")
    assert sends_through(compiled(closed, *OTHERS, claims=judged()), "app") == "relay:app/out"
    proven = judged({"shop": Evidence(ClaimBasis.TXT)})
    assert sends_through(compiled(SHOP, *OTHERS, claims=proven), "app") == "relay:shop/out"
    assert "client.app.c" not in compiled(closed, *OTHERS, claims=proven).entries


def test_a_domain_of_ones_own_does_not_let_one_send_as_a_name_that_another_has_proven() -> None:
    closed = SHOP.replace("{from: All}", "{from: Same}")
    outcome = compiled(
        closed, WORK, *OTHERS, CLIENT % "work", claims=judged({"shop": Evidence(ClaimBasis.TXT)})
    )
    assert "client.work.c" not in outcome.entries


def test_no_condition_names_an_object_of_another_namespace() -> None:
    texts = (SHOP, WORK.replace("All", "Same"), *OTHERS)
    for dns in ({}, {"work": Evidence(ClaimBasis.TXT)}, {"shop": Evidence(ClaimBasis.MX)}):
        outcome = compiled(*texts, claims=judged(dns))
        for reference, conditions in outcome.conditions.items():
            said = " ".join(each.message for each in conditions)
            for other in {"shop", "work", "app"} - {reference.key.namespace}:
                assert f"{other}/" not in said


def test_the_postmaster_of_the_relay_is_not_who_names_a_domain_first_in_the_alphabet() -> None:
    first = SHOP.replace("bank.example", "a.example")
    claims = Claims(frozenset({"work"}), "work")
    assert snapshot_of(compiled(first, WORK, *OTHERS, claims=claims)).postmaster_domain == NAME
    assert snapshot_of(compiled(first, *OTHERS, claims=claims)).postmaster_domain == "a.example"


@pytest.mark.parametrize(("claim", "otherwise"), [(ClaimBasis.TXT, False), (ClaimBasis.NONE, True)])
def test_an_unreadable_domain_may_have_proven_a_name_that_is_not_proven_here(
    claim: ClaimBasis, *, otherwise: bool
) -> None:
    outcome = compiled(SHOP, *OTHERS, claims=judged({"shop": Evidence(claim)}))
    snapshot = replace(snapshot_of(outcome), unreadable=frozenset({"domain.work.x"}))
    for whose in ("shop", None):
        asked = may_be_otherwise(
            snapshot,
            client=ObjectKey(whose, "c") if whose else None,
            sender_domain=None,
            recipient_domain=NAME,
        )
        assert asked is otherwise


def test_a_domain_of_ones_own_counts_though_the_older_one_cannot_be_read() -> None:
    own = Domain(ObjectKey("work", "d"), NAME, sends=True, reach=Reach.HOME)
    snapshot = Snapshot.of(1, domains=(own,), unreadable=frozenset({"domain.shop.d"}))
    assert snapshot.domain_for(NAME, "work") is own
    assert snapshot.domain_for(NAME, "app") is None


def test_entries_of_before_claims_count_as_they_did() -> None:
    old = Domain(ObjectKey("shop", "d"), NAME, sends=True)
    assert (old.claim, old.reach) == (ClaimBasis.EARLIER, Reach.EVERYBODY)
    assert Snapshot.of(1, domains=(old,)).domain_for(NAME, "app") is old
