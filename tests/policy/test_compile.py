"""Compiling all objects together: references, consents, conflicts, Secrets."""

from datetime import timedelta
from pathlib import Path

import pytest

from postroad.manifests.compiler.check import check
from postroad.manifests.compiler.result import ConditionType, Reason
from postroad.manifests.objects import Kind, Reference
from postroad.policy.codec import encode_entry
from postroad.policy.model import Client, Credentials, Domain, ObjectKey, Relay, TlsMode
from postroad.policy.secrets.scram import password_matches
from postroad_harness.compiling import KEYRINGS, compiled, reasons

RELAY = "kind: Relay\nmetadata: {name: out}\nspec: {mx: {}}"
SHARED = """\
kind: Relay
metadata: {name: shared, namespace: mail}
spec: {mx: {}, allowedNamespaces: %s}"""
CLIENT = "kind: Client\nmetadata: {name: c}\nspec: {networks: [10.0.0.0/8], senders: ['*']%s}"
RECEIVING = """\
kind: Domain
metadata: {name: a, namespace: %s}
spec:
  domain: a.example
  receive: {route: {hosts: [{host: real.example}]}}
  send: {relayRef: {name: shared, namespace: mail}}"""


def secret(username: str = "u", password: str = "p", name: str = "s", namespace: str = "x") -> str:
    return (
        f"kind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"stringData: {{username: '{username}', password: '{password}'}}"
    )


def test_a_relay_is_what_its_manifest_says() -> None:
    outcome = compiled(
        "kind: Relay\nmetadata: {name: out, namespace: x}\nspec:\n"
        "  destinations: [Example.COM, '*.bücher.example']\n"
        "  smarthosts: [{host: a.example, port: 465}, {host: '[2001:db8::1]', port: 465}]\n"
        "  auth: {secretRef: {name: s}}\n  tls: {mode: Verified}\n"
        "  egress: {pool: two}\n  retry: {delayWarning: 0s, max: 1h30m}\n"
        "  limits: {messageRate: 10/1m}",
        secret("me", "pass"),
    )
    relay = outcome.entries["relay.x.out"]
    assert isinstance(relay, Relay)
    assert relay.destinations == ("example.com", "*.xn--bcher-kva.example")
    way = relay.egress_path
    assert way.name == "relay:x/out"
    assert [(host.host, host.port) for host in way.smarthosts] == [
        ("a.example", 465),
        ("2001:db8::1", 465),
    ]
    assert way.implicit_tls
    assert way.tls is TlsMode.VERIFIED
    assert way.credentials == Credentials("me", "pass")
    assert way.pool == "two"
    assert way.retry.longest == timedelta(minutes=90)
    assert way.retry.delay_warning is None
    assert way.limits.message_rate is not None
    assert way.limits.message_rate.count == 10


@pytest.mark.parametrize(
    ("tls", "unverified"),
    [
        ("{mode: Required}", False),
        ("{mode: Required, allowUnverifiedLogin: true}", True),
        ("{mode: Verified, allowUnverifiedLogin: true}", False),
    ],
)
def test_a_login_that_may_go_to_anybody_shows_in_the_conditions(tls: str, unverified: bool) -> None:
    outcome = compiled(
        "kind: Relay\nmetadata: {name: out, namespace: x}\nspec:\n"
        "  smarthosts: [{host: a.example, port: 587}]\n"
        f"  auth: {{secretRef: {{name: s}}}}\n  tls: {tls}",
        secret("me", "pass"),
    )
    [ready, *_] = outcome.conditions[Reference(Kind.RELAY, ObjectKey("x", "out"))]
    assert ready.status
    assert ("allowUnverifiedLogin" in ready.message) is unverified


def test_a_client_holds_a_verifier_and_never_the_password() -> None:
    client = "kind: Client\nmetadata: {name: c, namespace: x}\nspec:\n"
    client += "  {auth: {secretRef: {name: s}}, senders: ['*'], class: Bulk}"
    entry = compiled(client, secret("me", "pass")).entries["client.x.c"]
    assert isinstance(entry, Client)
    assert entry.verifier is not None
    assert entry.username == "me"
    assert password_matches(entry.verifier, "pass")
    assert not password_matches(entry.verifier, "Pass")
    assert "pass" not in repr(entry)


def test_an_ipv4_address_written_as_an_ipv6_one_is_one_of_ipv4() -> None:
    relay = "kind: Relay\nmetadata: {name: r, namespace: x}\n"
    relay += "spec: {smarthosts: [{host: '[::ffff:192.0.2.1]'}],"
    relay += " egress: {sources: [{name: s, address: '::ffff:192.0.2.9'}]}}"
    client = CLIENT.replace("10.0.0.0/8", "'::ffff:10.1.2.0/120'") % ""
    entries = compiled(relay, client).entries
    made, known = entries["relay.x.r"], entries["client.default.c"]
    assert isinstance(made, Relay)
    assert isinstance(known, Client)
    assert [host.host for host in made.egress_path.smarthosts] == ["192.0.2.1"]
    assert [source.address for source in made.egress_path.sources] == ["192.0.2.9"]
    assert list(map(str, known.networks)) == ["10.1.2.0/24"]


@pytest.mark.parametrize(
    ("allowed", "namespace_labels", "admitted"),
    [
        ("{from: Same}", "{}", False),
        ("{from: All}", "{}", True),
        ("{from: Selector, selector: {matchLabels: {team: shop}}}", "{team: shop}", True),
        ("{from: Selector, selector: {matchLabels: {team: shop}}}", "{team: other}", False),
        (
            "{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: x}}}",
            "{}",
            True,
        ),
        (
            "{from: Selector, selector: {matchExpressions:"
            " [{key: team, operator: NotIn, values: [shop]}]}}",
            "{team: shop}",
            False,
        ),
        (
            "{from: Selector, selector: {matchExpressions: [{key: team, operator: Exists}]}}",
            "{team: any}",
            True,
        ),
        (
            "{from: Selector, selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}",
            "{team: any}",
            False,
        ),
    ],
)
def test_a_relay_elsewhere_must_admit_the_namespace(
    allowed: str, namespace_labels: str, admitted: bool
) -> None:
    client = (CLIENT % ", relayRef: {name: shared, namespace: mail}").replace(
        "{name: c}", "{name: c, namespace: x}"
    )
    namespace = f"kind: Namespace\nmetadata: {{name: x, labels: {namespace_labels}}}"
    outcome = compiled(SHARED % allowed, client, namespace)
    assert ("client.x.c" in outcome.entries) is admitted
    expected = [] if admitted else ["NotAllowedByRelay", "NotAllowedByRelay"]
    assert reasons(outcome, Kind.CLIENT, "c", "x") == expected


def test_a_relay_in_ones_own_namespace_needs_no_consent() -> None:
    outcome = compiled(RELAY, CLIENT % ", relayRef: {name: out}")
    entry = outcome.entries["client.default.c"]
    assert isinstance(entry, Client)
    assert entry.relay == ObjectKey("default", "out")


def test_a_relay_that_is_not_there_is_said_so() -> None:
    outcome = compiled(CLIENT % ", relayRef: {name: none}")
    assert outcome.entries == {}
    assert reasons(outcome, Kind.CLIENT, "c") == ["RelayNotFound", "RelayNotFound"]


def test_a_relay_deleted_leaves_its_users_as_they_were() -> None:
    before = compiled(RELAY, CLIENT % ", relayRef: {name: out}")
    after = compiled(CLIENT % ", relayRef: {name: out}", last_good=before)
    assert list(after.entries) == ["client.default.c"]
    assert reasons(after, Kind.CLIENT, "c") == ["Stale", "RelayNotFound"]


def test_a_relay_not_in_force_serves_nobody() -> None:
    broken = "kind: Relay\nmetadata: {name: out}\n"
    broken += "spec: {smarthosts: [{host: h}], auth: {secretRef: {name: none}}}"
    outcome = compiled(broken, CLIENT % ", relayRef: {name: out}")
    assert outcome.entries == {}
    assert reasons(outcome, Kind.RELAY, "out") == ["SecretNotFound", "SecretNotFound"]
    assert reasons(outcome, Kind.CLIENT, "c") == ["RelayNotReady", "RelayNotReady"]


def test_a_relay_with_a_broken_manifest_still_serves_those_it_served() -> None:
    users = [
        (CLIENT % ", relayRef: {name: shared, namespace: mail}"),
        (CLIENT % ", relayRef: {name: shared, namespace: mail}").replace("name: c", "name: new"),
    ]
    before = compiled(SHARED % "{from: All}", users[0])
    after = compiled((SHARED % "{from: All}").replace("mx", "mxx"), *users, last_good=before)
    assert set(after.entries) == {"relay.mail.shared", "client.default.c"}
    assert reasons(after, Kind.RELAY, "shared", "mail") == ["Stale", "Invalid"]
    assert reasons(after, Kind.CLIENT, "c") == []
    assert reasons(after, Kind.CLIENT, "new") == ["RelayNotReady", "RelayNotReady"]


def test_consent_withdrawn_ends_sending_and_not_receiving() -> None:
    before = compiled(SHARED % "{from: All}", RECEIVING % "x")
    after = compiled(SHARED % "{from: Same}", RECEIVING % "x", last_good=before)
    domain = after.entries["domain.x.a"]
    assert isinstance(domain, Domain)
    assert domain.receive is not None
    assert (domain.sends, domain.relay) == (False, None)
    assert reasons(after, Kind.DOMAIN, "a", "x") == ["NotAllowedByRelay", "NotAllowedByRelay"]


def test_a_broken_manifest_does_not_outlive_a_consent() -> None:
    before = compiled(SHARED % "{from: All}", RECEIVING % "x")
    broken = (RECEIVING % "x").replace("send:", "sends:")
    after = compiled(SHARED % "{from: Same}", broken, last_good=before)
    domain = after.entries["domain.x.a"]
    assert isinstance(domain, Domain)
    assert domain.relay is None


def test_a_broken_client_does_not_outlive_a_consent() -> None:
    client = CLIENT % ", relayRef: {name: shared, namespace: mail}"
    before = compiled(SHARED % "{from: All}", client)
    broken = client.replace("senders", "sender")
    after = compiled(SHARED % "{from: Same}", broken, last_good=before)
    assert list(after.entries) == ["relay.mail.shared"]


def test_a_new_domain_receives_while_its_relay_is_missing() -> None:
    outcome = compiled(RECEIVING % "x")
    domain = outcome.entries["domain.x.a"]
    assert isinstance(domain, Domain)
    assert domain.receive is not None
    assert not domain.sends
    assert reasons(outcome, Kind.DOMAIN, "a", "x") == ["RelayNotFound", "RelayNotFound"]


SENDING = "kind: Domain\nmetadata: {name: %s%s}\nspec: {domain: %s, send: {}}"


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


LOGIN = "kind: Client\nmetadata: {name: %s, namespace: x}\n"
LOGIN += "spec: {auth: {secretRef: {name: %s}}, senders: ['*']}"


def test_one_username_is_one_clients() -> None:
    outcome = compiled(LOGIN % ("a", "s"), LOGIN % ("b", "t"), secret(), secret(name="t"))
    assert list(outcome.entries) == ["client.x.a"]
    assert reasons(outcome, Kind.CLIENT, "b", "x") == ["UsernameConflict", "UsernameConflict"]


def test_a_client_without_its_secret_does_not_hold_a_username_against_an_older_one() -> None:
    before = compiled(LOGIN % ("b", "t"), secret(name="t"))
    after = compiled(LOGIN % ("a", "s"), secret(), LOGIN % ("b", "t"), last_good=before)
    assert list(after.entries) == ["client.x.a"]


def test_a_username_given_up_is_free() -> None:
    texts = (LOGIN % ("a", "s"), LOGIN % ("b", "t"), secret(), secret(username="w", name="t"))
    before = compiled(*texts)
    network = "kind: Client\nmetadata: {name: b, namespace: x}\n"
    network += "spec: {networks: [10.0.0.0/8], senders: ['*']}"
    after = compiled(LOGIN % ("a", "s"), secret(username="w"), network, last_good=before)
    assert set(after.entries) == {"client.x.a", "client.x.b"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{username: u}", "Secret x/s lacks the key password"),
        ("{username: u, password: ''}", "Secret x/s: password is empty"),
        (
            '{username: u, password: "p\\n"}',
            "Secret x/s: password ends in a line break; make the Secret without it"
            " (printf, not echo)",
        ),
        ('{username: "u\\0", password: p}', "Secret x/s: username has a control character"),
    ],
)
def test_a_secret_that_cannot_be_used_is_said_why(data: str, message: str) -> None:
    text = f"kind: Secret\nmetadata: {{name: s, namespace: x}}\nstringData: {data}"
    outcome = compiled(LOGIN % ("a", "s"), text)
    (_, wrong) = [
        condition
        for condition in outcome.conditions[Reference(Kind.CLIENT, ObjectKey("x", "a"))]
        if not condition.status
    ]
    assert wrong.type is ConditionType.SECRETS_RESOLVED
    assert wrong.reason is Reason.SECRET_INVALID
    assert wrong.message == message


def test_a_secret_elsewhere_is_not_looked_at() -> None:
    outcome = compiled(LOGIN % ("a", "s"), secret(namespace="y"))
    assert outcome.entries == {}
    assert reasons(outcome, Kind.CLIENT, "a", "x") == ["SecretNotFound", "SecretNotFound"]


def test_a_secret_gone_leaves_its_client_as_it_was() -> None:
    before = compiled(LOGIN % ("a", "s"), secret())
    after = compiled(LOGIN % ("a", "s"), last_good=before)
    assert after.entries == before.entries
    assert reasons(after, Kind.CLIENT, "a", "x") == ["Stale", "SecretNotFound"]


def test_a_changed_password_is_a_changed_verifier_and_an_unchanged_one_is_not() -> None:
    before = compiled(LOGIN % ("a", "s"), secret())
    assert compiled(LOGIN % ("a", "s"), secret(), last_good=before).entries == before.entries
    after = compiled(LOGIN % ("a", "s"), secret(password="q"), last_good=before)
    entry = after.entries["client.x.a"]
    assert isinstance(entry, Client)
    assert entry.verifier is not None
    assert password_matches(entry.verifier, "q")


def test_senders_of_a_domain_elsewhere_are_left_out_unless_it_admits_them() -> None:
    domain = "kind: Domain\nmetadata: {name: d, namespace: y}\n"
    domain += "spec: {domain: d.example, send: {}%s}"
    client = CLIENT.replace("'*'", "'*@d.example', 'me@other.example'") % ""
    outcome = compiled(domain % "", client)
    entry = outcome.entries["client.default.c"]
    assert isinstance(entry, Client)
    assert entry.senders == ("me@other.example",)
    assert reasons(outcome, Kind.CLIENT, "c") == ["SenderNotAllowed", "SenderNotAllowed"]

    open_to_all = compiled(domain % ", allowedNamespaces: {from: All}", client)
    entry = open_to_all.entries["client.default.c"]
    assert isinstance(entry, Client)
    assert entry.senders == ("*@d.example", "me@other.example")


def test_a_client_without_any_sender_left_is_not_in_force() -> None:
    domain = "kind: Domain\nmetadata: {name: d, namespace: y}\nspec: {domain: d.example, send: {}}"
    outcome = compiled(domain, CLIENT.replace("'*'", "'*@d.example'") % "")
    assert list(outcome.entries) == ["domain.y.d"]


def test_what_is_deleted_leaves_only_when_all_was_listed() -> None:
    before = compiled(RELAY, CLIENT % "")
    assert list(compiled(RELAY, last_good=before).entries) == ["relay.default.out"]
    assert compiled(RELAY, last_good=before, complete=False).entries == before.entries


def test_a_kept_domain_holds_its_name_while_listing_is_incomplete() -> None:
    before = compiled(SENDING % ("a", "", "a.example"))
    after = compiled(SENDING % ("b", "", "a.example"), last_good=before, complete=False)
    assert list(after.entries) == ["domain.default.a"]


def test_compiling_again_from_its_own_outcome_changes_nothing() -> None:
    texts = (SHARED % "{from: All}", RECEIVING % "x", LOGIN % ("a", "s"), secret())
    once = compiled(*texts)
    again = compiled(*reversed(texts), last_good=once)
    assert again.conditions == once.conditions
    assert [encode_entry(k, v, KEYRINGS) for k, v in once.entries.items()] == [
        encode_entry(k, v, KEYRINGS) for k, v in again.entries.items()
    ]


def test_conditions_carry_the_generation_they_are_about() -> None:
    outcome = compiled(RELAY.replace("{name: out}", "{name: out, generation: 7}"))
    (conditions,) = outcome.conditions.values()
    assert {condition.observed_generation for condition in conditions} == {7}
    assert outcome.ready(Reference(Kind.RELAY, ObjectKey("default", "out")))


def test_what_shows_only_in_compiling_is_told_at_its_field(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "apiVersion: postroad.dev/v1alpha1\nkind: Client\nmetadata: {name: c}\nspec:\n"
        "  networks: [10.0.0.0/8]\n  senders: ['*']\n  relayRef:\n    name: none\n"
    )
    mistakes, compiled = check([tmp_path])
    assert [str(mistake) for mistake in mistakes] == [
        f"{tmp_path}/m.yaml:7: spec.relayRef: there is no Relay default/none; declare it, or name"
        " another"
    ]
    assert compiled.entries == {}


def test_an_edit_that_spoils_one_file_spoils_nothing_else(tmp_path: Path) -> None:
    head = "apiVersion: postroad.dev/v1alpha1\n"
    for name, text in (("a", RELAY), ("b", CLIENT % "")):
        (tmp_path / f"{name}.yaml").write_text(head + text)
    good = check([tmp_path], keyrings=KEYRINGS)
    assert good.mistakes == ()
    (tmp_path / "a.yaml").write_text("{")
    (tmp_path / "b.yaml").write_text(head + CLIENT % ", class: Bulk")
    mistakes, after = check([tmp_path], keyrings=KEYRINGS, last_good=good.compiled.entries)
    assert len(mistakes) == 1
    assert after.entries["relay.default.out"] == good.compiled.entries["relay.default.out"]
    assert after.entries["client.default.c"] != good.compiled.entries["client.default.c"]


def test_an_object_that_lost_its_name_is_not_taken_for_deleted(tmp_path: Path) -> None:
    head = "apiVersion: postroad.dev/v1alpha1\n"
    (tmp_path / "m.yaml").write_text(head + RELAY)
    good = check([tmp_path], keyrings=KEYRINGS).compiled
    (tmp_path / "m.yaml").write_text(head + RELAY.replace("name: out", "name: Out"))
    assert check([tmp_path], keyrings=KEYRINGS, last_good=good.entries).compiled.entries
    (tmp_path / "m.yaml").write_text("")
    assert not check([tmp_path], keyrings=KEYRINGS, last_good=good.entries).compiled.entries


def test_the_examples_in_the_docs_are_good() -> None:
    folder = Path(__file__).parents[2] / "docs" / "examples"
    mistakes, compiled = check([folder])
    assert mistakes == ()
    assert {key.partition(".")[0] for key in compiled.entries} == {
        "client",
        "domain",
        "quota",
        "relay",
    }
