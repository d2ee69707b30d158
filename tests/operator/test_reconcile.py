"""Each object's status from the known facts: tables, without a cluster."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from postroad.manifests.compiler.claims import OF_FILES, ClaimKey, Claims, Evidence
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.objects import Declared, Objects
from postroad.manifests.reader import read_object
from postroad.operator.status.conditions import Judgement, Truth, Type, find
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts
from postroad.operator.status.reconcile import Facts, Serving, desired, differs, transition
from postroad.policy.model import ClaimBasis, ObjectKey
from postroad.testing.keys import keyrings

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
KEYRINGS = keyrings()
IN_FORCE = (Serving("ingress-0", 7), Serving("delivery-0", 8))


def declare(kind: str, name: str, spec: dict[str, Any], *, generation: int = 1) -> Declared:
    metadata = {
        "name": name,
        "namespace": "shop",
        "generation": generation,
        "creationTimestamp": "2026-11-24T09:00:00Z",
    }
    read = read_object(
        {"apiVersion": "postroad.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    )
    assert isinstance(read, Declared)
    return read


RELAY = declare("Relay", "out", {"mx": {}})
SMARTHOST = declare("Relay", "smart", {"smarthosts": [{"host": "smart.example"}]})
GRANT = declare("DomainGrant", "g", {"domains": ["*"], "namespaces": ["shop"]})
DOMAIN = declare("Domain", "a", {"domain": "a.example", "send": {"relayRef": {"name": "out"}}})
YOUNGER = declare("Domain", "b", {"domain": "a.example", "send": {}})
BAD = declare("Relay", "out", {"mx": {}, "smarthosts": [{"host": "a.example"}]}, generation=2)
CLIENT = declare("Client", "web", {"auth": {"secretRef": {"name": "login"}}, "senders": ["*"]})


def facts(
    *declared: Declared, generation: int | None = 7, claims: Claims = OF_FILES, **more: Any
) -> Facts:
    compiled = compile_objects(Objects(declared), keyrings=KEYRINGS, claims=claims)
    generations = dict.fromkeys(compiled.entries, generation) if generation is not None else {}
    known: dict[str, Any] = {"serving": IN_FORCE, "dns_checks": False, **more}
    return Facts(compiled=compiled, generations=generations, **known)


def said(status: dict[str, Any] | None, of: Type = Type.READY) -> tuple[str, str]:
    assert status is not None
    condition = find(status, of)
    assert condition is not None
    return condition["status"], condition["reason"]


@pytest.mark.parametrize(
    ("serving", "generation", "programmed"),
    [
        (IN_FORCE, 7, ("True", "Programmed")),
        (IN_FORCE, 8, ("False", "Pending")),  # ingress has an older one
        (IN_FORCE, None, ("False", "Pending")),  # could not be published yet
        ((), 7, ("Unknown", "NoProcesses")),
        ((*IN_FORCE, Serving("ingress-1", 0)), 7, ("True", "Programmed")),  # it only starts
        ((Serving("ingress-1", 0),), 7, ("Unknown", "NoProcesses")),
        ((*IN_FORCE, Serving("delivery-1", 9, stale=True)), 7, ("False", "Pending")),
        (None, 7, ("Unknown", "QueueAway")),
    ],
)
def test_programmed_is_what_every_process_has_acknowledged(
    serving: Sequence[Serving] | None, generation: int | None, programmed: tuple[str, str]
) -> None:
    status = desired(RELAY, {}, facts(RELAY, generation=generation, serving=serving), NOW)
    assert said(status, Type.PROGRAMMED) == programmed
    assert said(status) == programmed


def test_a_relay_says_that_a_stream_of_the_queue_refuses_writes_while_it_does() -> None:
    refusing = {"POSTROAD_I_3": "no answer in 3 s", "POSTROAD_Q_3": "no answer in 3 s"}
    known = facts(RELAY, DOMAIN, refusing=refusing)
    status = desired(RELAY, {}, known, NOW)
    assert said(status, Type.STREAM_REFUSES_WRITES) == ("True", "PublishesFail")
    assert said(status) == ("True", "Programmed")
    assert status is not None
    told = find(status, Type.STREAM_REFUSES_WRITES)
    assert told is not None
    assert "POSTROAD_I_3 takes no mail (no answer in 3 s), and 1 more" in told["message"]
    again = desired(RELAY, status, facts(RELAY, DOMAIN), NOW)
    assert again is not None
    assert find(again, Type.STREAM_REFUSES_WRITES) is None
    of_domain = desired(DOMAIN, {}, known, NOW)
    assert of_domain is not None
    assert find(of_domain, Type.STREAM_REFUSES_WRITES) is None


def test_a_fresh_publication_is_waited_for() -> None:
    assert desired(RELAY, {}, facts(RELAY, generation=8, patient=True), NOW) is None
    # What needs no acknowledgement is told at once.
    assert said(desired(YOUNGER, {}, facts(RELAY, DOMAIN, YOUNGER, patient=True), NOW)) == (
        "False",
        "DomainConflict",
    )


def test_an_object_is_left_alone_until_it_was_compiled_as_it_is_now() -> None:
    assert desired(BAD, {}, facts(RELAY), NOW) is None


def test_what_went_bad_says_that_its_last_good_form_is_in_force() -> None:
    good = facts(RELAY).compiled.entries
    compiled = compile_objects(Objects((BAD,)), keyrings=KEYRINGS, last_good=good)
    known = replace(facts(RELAY), compiled=compiled)
    status = desired(BAD, {}, known, NOW)
    assert said(status) == ("False", "Stale")
    assert said(status, Type.PROGRAMMED) == ("False", "Stale")
    assert said(status, Type.ACCEPTED) == ("False", "Invalid")
    assert status is not None
    assert status["observedGeneration"] == 2


def test_a_missing_secret_is_told_where_it_belongs() -> None:
    status = desired(CLIENT, {}, facts(CLIENT), NOW)
    assert said(status) == ("False", "SecretNotFound")
    assert said(status, Type.SECRETS_RESOLVED) == ("False", "SecretNotFound")
    assert said(status, Type.ACCEPTED) == ("True", "Accepted")
    assert said(status, Type.PROGRAMMED) == ("False", "NotInForce")


def test_while_the_queue_is_away_a_status_stays_as_it_was() -> None:
    before = desired(RELAY, {}, facts(RELAY), NOW)
    assert before is not None
    after = desired(RELAY, before, facts(RELAY, serving=None), NOW)
    assert after == before


DNS = DnsFacts(DnsAnswer(), DnsAnswer(("v=spf1 -all",)), DnsAnswer(("v=DMARC1; p=none",)))


def test_dns_is_told_beside_ready_and_survives_a_restart() -> None:
    first = desired(DOMAIN, {}, facts(RELAY, DOMAIN, dns_checks=True), NOW)
    assert said(first, Type.DNS_VERIFIED) == ("Unknown", "Pending")
    found = facts(RELAY, DOMAIN, dns_checks=True, dns={"a.example": DNS})
    looked = desired(DOMAIN, {}, found, NOW)
    assert looked is not None
    assert said(looked, Type.DNS_VERIFIED) == ("True", "RecordsFound")
    assert [each["state"] for each in looked["dnsRecords"]] == ["Found", "Found"]
    missing = replace(found, dns={"a.example": replace(DNS, txt=DnsAnswer())})
    assert said(desired(DOMAIN, {}, missing, NOW)) == ("True", "Programmed")
    # A new run has asked nobody yet.
    restarted = desired(DOMAIN, looked, facts(RELAY, DOMAIN, dns_checks=True), NOW)
    assert restarted == looked


def test_without_checks_there_is_what_to_publish_and_no_verdict() -> None:
    status = desired(DOMAIN, {}, facts(RELAY, DOMAIN), NOW)
    assert status is not None
    assert find(status, Type.DNS_VERIFIED) is None
    assert {each["state"] for each in status["dnsRecords"]} == {"Unknown"}


def test_reachable_is_told_of_smarthosts_only_and_survives_a_restart() -> None:
    by_mx = desired(RELAY, {}, facts(RELAY), NOW)
    assert by_mx is not None
    assert find(by_mx, Type.REACHABLE) is None
    verdict = Judgement(Type.REACHABLE, Truth.FALSE, "ConnectionRefused", "…")
    tried = facts(SMARTHOST, reachable={ObjectKey("shop", "smart"): verdict})
    status = desired(SMARTHOST, {}, tried, NOW)
    assert status is not None
    assert said(status, Type.REACHABLE) == ("False", "ConnectionRefused")
    assert said(status) == ("True", "Programmed")
    assert desired(SMARTHOST, status, facts(SMARTHOST), NOW) == status


def test_the_same_facts_are_no_reason_to_write() -> None:
    status = desired(DOMAIN, {}, facts(RELAY, DOMAIN), NOW)
    assert status is not None
    again = desired(DOMAIN, status, facts(RELAY, DOMAIN), NOW.replace(hour=11))
    assert again is not None
    assert not differs(again, status)


def test_an_event_is_for_a_change_of_ready_alone() -> None:
    good = desired(RELAY, {}, facts(RELAY), NOW)
    pending = desired(RELAY, {}, facts(RELAY, generation=8), NOW)
    unknown = desired(RELAY, {}, facts(RELAY, serving=()), NOW)
    lost = desired(CLIENT, {}, facts(CLIENT), NOW)
    assert None not in (good, pending, unknown, lost)

    def event(
        status: dict[str, Any] | None, before: dict[str, Any] | None
    ) -> tuple[bool, str] | None:
        told = transition(status or {}, before or {})
        return (told.warning, told.reason) if told else None

    assert event(good, {}) == (False, "Programmed")
    assert event(good, pending) == (False, "Programmed")
    assert event(good, good) is None
    assert event(pending, {}) is None
    assert event(unknown, good) is None
    assert event(lost, {}) == (True, "SecretNotFound")
    assert event(lost, lost) is None


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Evidence(ClaimBasis.TXT), ("True", "TXTRecord")),
        (Evidence(ClaimBasis.MX), ("True", "MXRecord")),
        (Evidence(ClaimBasis.TXT, certain=False), ("True", "NotConfirmed")),
        (Evidence(ClaimBasis.NONE), ("False", "NotProven")),
        (Evidence(ClaimBasis.NONE, certain=False), ("Unknown", "LookupFailed")),
        (None, ("Unknown", "Pending")),
    ],
)
def test_whether_a_domain_takes_the_mail_of_others_is_told_apart_from_ready(
    verdict: Evidence | None, expected: tuple[str, str]
) -> None:
    dns = {ClaimKey("shop", "a.example"): verdict} if verdict else {}
    claims = Claims(frozenset(), "mail", dns, "relay.example")
    status = desired(DOMAIN, {}, facts(RELAY, DOMAIN, claims=claims), NOW)
    assert said(status, Type.DOMAIN_CLAIMED) == expected
    assert said(status) == ("True", "Programmed")


def test_a_grant_is_ready_when_it_counts_and_waits_for_no_process() -> None:
    at_home, elsewhere = Claims(frozenset(), "shop"), Claims(frozenset(), "mail")
    status = desired(GRANT, {}, facts(GRANT, claims=at_home, serving=()), NOW)
    assert said(status) == ("True", "Accepted")
    assert find(status or {}, Type.PROGRAMMED) is None
    status = desired(GRANT, {}, facts(GRANT, claims=elsewhere), NOW)
    assert said(status) == ("False", "NotInReleaseNamespace")
