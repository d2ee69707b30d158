"""The Secrets of logins: what is kept of a password, and what a Secret that is no use does."""

import pytest

from postroad.manifests.compiler.result import ConditionType, Reason
from postroad.manifests.objects import Kind, Reference
from postroad.policy.model import Client, ObjectKey
from postroad.policy.secrets.scram import password_matches
from postroad_harness.compiling import compiled, reasons
from postroad_harness.setups.manifests import LOGIN, secret


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
