"""What the DNS proves of a claim, and for how long after it no longer does."""

from datetime import UTC, datetime, timedelta

import pytest

from postroad.manifests.compiler.claims import ClaimKey, Evidence
from postroad.operator.configuration.proofs import DENIED, UNANSWERED, Proofs, evidence_of
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts
from postroad.policy.model import ClaimBasis, Domain, Entry, ObjectKey, Reach

RELAY = "relay.example"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHOP = ClaimKey("shop", "a.example")
MINUTE = timedelta(minutes=1)
TROUBLE = DnsAnswer(trouble="no answer")
OURS = "relay=relay.example; namespace=shop"


def facts(*texts: str, mx: DnsAnswer | None = None, proof: DnsAnswer | None = None) -> DnsFacts:
    return DnsFacts(
        mx or DnsAnswer(), DnsAnswer(), DnsAnswer(), proof or DnsAnswer(tuple(sorted(texts)))
    )


BY_MX = DnsAnswer((RELAY, "second.example"))
AWAY = facts(mx=TROUBLE, proof=TROUBLE)


@pytest.mark.parametrize(
    ("found", "evidence"),
    [
        (facts(), Evidence(ClaimBasis.NONE)),
        (facts(OURS), Evidence(ClaimBasis.TXT)),
        (facts("v=other", "Relay = RELAY.example;namespace= shop"), Evidence(ClaimBasis.TXT)),
        (facts(OURS, mx=TROUBLE), Evidence(ClaimBasis.TXT)),
        (facts("relay=relay.example; namespace=shop2"), Evidence(ClaimBasis.NONE)),
        (facts("relay=other.example; namespace=shop"), Evidence(ClaimBasis.NONE)),
        (facts(mx=BY_MX), Evidence(ClaimBasis.MX)),
        (facts("relay=other.example; namespace=work", mx=BY_MX), Evidence(ClaimBasis.MX)),
        # An MX record does not say which namespace, where TXT records do.
        (facts("relay=relay.example; namespace=work", mx=BY_MX), Evidence(ClaimBasis.NONE)),
        (facts(mx=DnsAnswer(("mx.other.example",))), Evidence(ClaimBasis.NONE)),
        (AWAY, Evidence(ClaimBasis.NONE, certain=False)),
        (facts(mx=TROUBLE), Evidence(ClaimBasis.NONE, certain=False)),
        (facts(mx=BY_MX, proof=TROUBLE), Evidence(ClaimBasis.NONE, certain=False)),
    ],
)
def test_what_the_dns_proves(found: DnsFacts, evidence: Evidence) -> None:
    assert evidence_of(found, RELAY, "shop") == evidence


def at(proofs: Proofs, found: DnsFacts | None, now: datetime) -> Evidence | None:
    proofs.look({SHOP}, {SHOP.name: found} if found else {}, now)
    return proofs.evidence.get(SHOP)


@pytest.mark.parametrize("proven", [facts(OURS), facts(mx=BY_MX)])
def test_a_name_server_that_fails_ends_no_proof_for_a_week(proven: DnsFacts) -> None:
    proofs = Proofs(RELAY)
    first = at(proofs, proven, NOW)
    assert first is not None
    for later in (MINUTE, timedelta(days=1), UNANSWERED - MINUTE):
        assert at(proofs, AWAY, NOW + later) == Evidence(first.basis, certain=False)
    assert at(proofs, AWAY, NOW + UNANSWERED) == Evidence(ClaimBasis.NONE, certain=False)
    assert at(proofs, proven, NOW + UNANSWERED) == first


def test_a_record_that_is_gone_ends_the_proof_after_a_day() -> None:
    proofs = Proofs(RELAY)
    at(proofs, facts(OURS), NOW)
    gone = NOW + timedelta(hours=1)
    denied = Evidence(ClaimBasis.TXT, certain=False, denied=True)
    assert at(proofs, facts(), gone) == denied
    assert at(proofs, facts(), gone + DENIED - MINUTE) == denied
    assert at(proofs, facts(), gone + DENIED) == Evidence(ClaimBasis.NONE)


def test_a_txt_record_that_is_gone_is_no_mx_record_s_equal_for_a_day() -> None:
    proofs = Proofs(RELAY)
    assert at(proofs, facts(OURS, mx=BY_MX), NOW) == Evidence(ClaimBasis.TXT)
    unconfirmed = Evidence(ClaimBasis.TXT, certain=False)
    for later in (MINUTE, DENIED):
        assert at(proofs, facts(mx=BY_MX), NOW + later) == unconfirmed
    assert at(proofs, AWAY, NOW + DENIED) == unconfirmed
    assert at(proofs, facts(mx=BY_MX), NOW + DENIED + MINUTE) == Evidence(ClaimBasis.MX)


def test_an_mx_record_that_was_there_when_the_dns_last_answered_counts_after_the_day() -> None:
    proofs = Proofs(RELAY)
    at(proofs, facts(OURS, mx=BY_MX), NOW)
    at(proofs, facts(mx=BY_MX), NOW + MINUTE)
    by_mx = Evidence(ClaimBasis.MX, certain=False)
    assert at(proofs, AWAY, NOW + MINUTE + DENIED) == by_mx
    assert at(proofs, AWAY, NOW + UNANSWERED) == by_mx
    assert at(proofs, AWAY, NOW + UNANSWERED + MINUTE) == Evidence(ClaimBasis.NONE, certain=False)


def test_where_others_have_txt_records_an_mx_record_is_denied() -> None:
    proofs = Proofs(RELAY)
    at(proofs, facts(mx=BY_MX), NOW)
    denied = Evidence(ClaimBasis.MX, certain=False, denied=True)
    assert at(proofs, facts("relay=relay.example; namespace=work", mx=BY_MX), NOW) == denied
    assert at(proofs, facts(mx=BY_MX, proof=TROUBLE), NOW + MINUTE) == denied


def test_a_record_that_comes_back_is_as_good_as_before() -> None:
    proofs = Proofs(RELAY)
    at(proofs, facts(OURS), NOW)
    at(proofs, facts(), NOW + MINUTE)
    assert at(proofs, facts(OURS), NOW + DENIED) == Evidence(ClaimBasis.TXT)
    denied = Evidence(ClaimBasis.TXT, certain=False, denied=True)
    assert at(proofs, facts(), NOW + DENIED + MINUTE) == denied


def test_silence_does_not_prolong_a_claim_that_was_denied() -> None:
    proofs = Proofs(RELAY)
    at(proofs, facts(OURS), NOW)
    at(proofs, facts(), NOW)
    denied = Evidence(ClaimBasis.TXT, certain=False, denied=True)
    assert at(proofs, AWAY, NOW + DENIED - MINUTE) == denied
    assert at(proofs, AWAY, NOW + DENIED) == Evidence(ClaimBasis.NONE, certain=False)


def test_nothing_is_proven_before_the_dns_was_asked() -> None:
    proofs = Proofs(RELAY)
    assert at(proofs, None, NOW) is None
    assert at(proofs, AWAY, NOW) == Evidence(ClaimBasis.NONE, certain=False)


def published(claim: ClaimBasis, reach: Reach = Reach.EVERYBODY) -> list[Entry]:
    return [Domain(ObjectKey("shop", "d"), "a.example", claim=claim, reach=reach)]


@pytest.mark.parametrize("claim", [ClaimBasis.TXT, ClaimBasis.MX])
def test_a_new_operator_keeps_what_was_proven_though_the_dns_is_away(claim: ClaimBasis) -> None:
    proofs = Proofs(RELAY)
    proofs.remember(published(claim), NOW)
    assert at(proofs, None, NOW) == Evidence(claim)
    assert at(proofs, AWAY, NOW + MINUTE) == Evidence(claim, certain=False)


@pytest.mark.parametrize("hostname", [RELAY, ""])
def test_what_took_everybodys_mail_before_claims_were_proven_does_so_for_a_day(
    hostname: str,
) -> None:
    proofs = Proofs(hostname)
    proofs.remember(published(ClaimBasis.EARLIER), NOW)
    kept = Evidence(ClaimBasis.EARLIER, certain=False, denied=True)
    assert at(proofs, facts(), NOW) == kept
    assert at(proofs, facts(), NOW + DENIED - MINUTE) == kept
    assert at(proofs, facts(), NOW + DENIED) == Evidence(ClaimBasis.NONE)


@pytest.mark.parametrize(
    "entries",
    [
        published(ClaimBasis.GRANT),  # the grants say so themselves
        published(ClaimBasis.PLATFORM),
        published(ClaimBasis.TXT, Reach.HOME),
        published(ClaimBasis.NONE, Reach.STRANGERS),
    ],
)
def test_nothing_else_of_what_was_published_is_a_proof(entries: list[Entry]) -> None:
    proofs = Proofs(RELAY)
    proofs.remember(entries, NOW)
    assert at(proofs, None, NOW) is None


def test_a_claim_that_is_gone_is_forgotten_and_each_change_is_told() -> None:
    proofs = Proofs(RELAY)
    assert proofs.look({SHOP}, {SHOP.name: facts(OURS)}, NOW)
    assert not proofs.look({SHOP}, {SHOP.name: facts(OURS)}, NOW + MINUTE)
    assert proofs.look((), {}, NOW + MINUTE)
    assert proofs.evidence == {}
