"""Which Relay serves whom: one of another namespace must admit it, and may withdraw that."""

import pytest

from postroad.manifests.objects import Kind
from postroad.policy.model import Client, Domain, ObjectKey
from postroad_harness.compiling import compiled, reasons
from postroad_harness.setups.manifests import CLIENT, RECEIVING, RELAY, SHARED


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
