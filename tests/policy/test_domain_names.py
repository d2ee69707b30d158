"""Two Domains with one name: which of them has it, and what a mistake in one of them changes."""

from postroad.manifests.objects import Kind, Reference
from postroad.policy.model import Domain, ObjectKey
from postroad_harness.compiling import compiled, reasons
from postroad_harness.setups.manifests import RECEIVING, SENDING, SHARED


def test_of_two_domains_with_one_name_the_first_in_the_files_wins() -> None:
    texts = (SENDING % ("b", "", "a.example"), SENDING % ("a", "", "A.example."))
    outcome = compiled(*texts)
    assert list(outcome.entries) == ["domain.default.b"]
    assert reasons(outcome, Kind.DOMAIN, "a") == ["DomainConflict", "DomainConflict"]
    assert list(compiled(*reversed(texts)).entries) == ["domain.default.a"]


def test_of_two_domains_with_one_name_the_older_wins_whatever_the_order() -> None:
    young = SENDING % ("a", ", creationTimestamp: '2026-02-01T00:00:00Z'", "a.example")
    older = SENDING % ("b", ", creationTimestamp: '2026-01-01T00:00:00Z'", "a.example")
    assert list(compiled(young, older).entries) == ["domain.default.b"]
    assert list(compiled(older, young).entries) == ["domain.default.b"]
    equal = SENDING % ("c", ", creationTimestamp: '2026-01-01T00:00:00Z'", "a.example")
    assert list(compiled(equal, older).entries) == ["domain.default.b"]


def test_a_domain_that_lost_its_name_leaves_even_if_it_was_in_force() -> None:
    young = SENDING % ("a", ", creationTimestamp: '2026-02-01T00:00:00Z'", "a.example")
    older = SENDING % ("b", ", creationTimestamp: '2026-01-01T00:00:00Z'", "a.example")
    before = compiled(young)
    assert list(compiled(young, older, last_good=before).entries) == ["domain.default.b"]


def test_a_broken_domain_keeps_its_name() -> None:
    before = compiled(SENDING % ("a", "", "a.example"))
    broken = (SENDING % ("a", "", "a.example")).replace("send:", "snd:")
    after = compiled(broken, SENDING % ("b", "", "a.example"), last_good=before)
    assert list(after.entries) == ["domain.default.a"]
    assert reasons(after, Kind.DOMAIN, "a") == ["Stale", "Invalid"]
    assert reasons(after, Kind.DOMAIN, "b") == ["DomainConflict", "DomainConflict"]


def test_a_domain_whose_old_name_is_taken_receives_by_its_new_one_in_spite_of_a_mistake() -> None:
    before = compiled(RECEIVING % "x", SHARED % "{from: All}")
    renamed = (RECEIVING % "x").replace("a.example", "b.example").replace("shared", "typo")
    other = SENDING % ("other", ", namespace: x", "a.example")
    texts = (SHARED % "{from: All}", other, renamed)
    after = compiled(*texts, last_good=before)
    domains = [each for each in after.entries.values() if isinstance(each, Domain)]
    assert {each.key.name: each.domain for each in domains} == {
        "a": "b.example",
        "other": "a.example",
    }
    assert compiled(*texts, last_good=after) == after
    assert reasons(after, Kind.DOMAIN, "other", "x") == []
    [ready, *_] = after.conditions[Reference(Kind.DOMAIN, ObjectKey("x", "a"))]
    assert ready.message == "there is no Relay mail/typo; declare it, or name another"


def test_a_broken_domain_whose_name_is_taken_is_gone_by_its_mistake_alone() -> None:
    before = compiled(RECEIVING % "x", SHARED % "{from: All}")
    broken = (RECEIVING % "x").replace("send:", "snd:")
    texts = (SHARED % "{from: All}", SENDING % ("other", ", namespace: x", "a.example"), broken)
    after = compiled(*texts, last_good=before)
    assert set(after.entries) == {"relay.mail.shared", "domain.x.other"}
    assert reasons(after, Kind.DOMAIN, "a", "x") == ["Invalid", "Invalid"]
    assert compiled(*texts, last_good=after) == after


def test_a_kept_domain_holds_its_name_while_listing_is_incomplete() -> None:
    before = compiled(SENDING % ("a", "", "a.example"))
    after = compiled(SENDING % ("b", "", "a.example"), last_good=before, complete=False)
    assert list(after.entries) == ["domain.default.a"]
