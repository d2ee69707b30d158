"""No namespace takes another's username: at most the short form, and never by proof of nothing."""

import pytest

from postroad.manifests.compiler.claims import ClaimKey, Claims, Evidence
from postroad.manifests.objects import Kind, Reference
from postroad.policy.model import ClaimBasis, Client, ObjectKey
from postroad.policy.secrets.scram import matches_salt, password_matches
from postroad.policy.secrets.seal import Reader
from postroad.policy.snapshot import Snapshot
from postroad_harness.compiling import KEYRINGS, compiled, reasons

CLUSTER = Claims(frozenset({"mail"}), "mail")
PROVEN = """\
kind: Domain
metadata: {name: d, namespace: work}
spec: {domain: work.example, send: {}, allowedNamespaces: {from: All}}"""
BY_TXT = {ClaimKey("work", "work.example"): Evidence(ClaimBasis.TXT)}


def client(
    namespace: str, day: int, username: str, *, name: str = "c", more: str = ""
) -> tuple[str, str]:
    """Return a Client and its Secret; the password is the namespace."""
    age = f"creationTimestamp: '2026-01-{day:02}T00:00:00Z'"
    return (
        f"kind: Client\nmetadata: {{name: {name}, namespace: {namespace}, {age}}}\n"
        f"spec: {{auth: {{secretRef: {{name: {name}}}}}, senders: ['*']{more}}}",
        f"kind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"stringData: {{username: '{username}', password: {namespace}}}",
    )


def logins(*texts: str, claims: Claims = CLUSTER) -> dict[str, str]:
    """Return whose Client each name logs in as, by namespace; each with its own password."""
    entries = compiled(*texts, claims=claims).entries.values()
    clients = tuple(entry for entry in entries if isinstance(entry, Client))
    found = Snapshot.of(1, clients=clients).clients_by_username
    for each in found.values():
        assert each.verifier is not None
        assert password_matches(each.verifier, each.key.namespace)
        assert matches_salt(each, each.key.namespace, KEYRINGS[Reader.INGRESS])  # at once
    return {name: each.key.namespace for name, each in found.items()}


def test_who_comes_first_keeps_nobody_from_logging_in() -> None:
    texts = (*client("work", 2, "web"), *client("shop", 1, "web"))
    assert logins(*texts) == {"web": "shop", "shop/web": "shop", "work/web": "work"}
    outcome = compiled(*texts, claims=CLUSTER)
    assert reasons(outcome, Kind.CLIENT, "c", "shop") == []
    assert reasons(outcome, Kind.CLIENT, "c", "work") == ["UsernameConflict", "UsernameConflict"]
    [ready, *_] = outcome.conditions[Reference(Kind.CLIENT, ObjectKey("work", "c"))]
    assert "log in as work/web" in ready.message
    assert "shop" not in ready.message


def test_the_owner_of_the_relay_has_a_username_however_late() -> None:
    texts = (*client("shop", 1, "web"), *client("mail", 2, "web"))
    assert logins(*texts) == {"web": "mail", "mail/web": "mail", "shop/web": "shop"}


@pytest.mark.parametrize("domain", ["work.example", "Work.Example."])
@pytest.mark.parametrize(("proven", "owner"), [(ClaimBasis.TXT, "work"), (ClaimBasis.NONE, "shop")])
def test_an_address_belongs_to_the_namespace_that_has_its_domain(
    proven: ClaimBasis, owner: str, domain: str
) -> None:
    dns = {ClaimKey("work", "work.example"): Evidence(proven)}
    username = f"App@{domain}"
    texts = (PROVEN, *client("shop", 1, username), *client("work", 2, username))
    claims = Claims(frozenset({"mail"}), "mail", dns)
    assert logins(*texts, claims=claims)[username] == owner


def test_an_address_belongs_to_its_owner_however_its_domain_is_written() -> None:
    dns = {ClaimKey("work", "xn--bcher-kva.example"): Evidence(ClaimBasis.TXT)}
    proven = PROVEN.replace("work.example", "xn--bcher-kva.example")
    username = "App@bücher.example"
    texts = (proven, *client("shop", 1, username), *client("work", 2, username))
    claims = Claims(frozenset({"mail"}), "mail", dns)
    assert logins(*texts, claims=claims)[username] == "work"


def test_a_name_with_a_namespace_is_that_namespace_s() -> None:
    texts = (*client("shop", 1, "work/web"), *client("work", 2, "web"))
    assert logins(*texts) == {"shop/work/web": "shop", "web": "work", "work/web": "work"}
    assert logins(*client("work", 1, "work/web")) == {"work/web": "work"}
    # Files are one person's, who may like slashes; but the full name still goes before.
    assert logins(*client("shop", 1, "team/web"), claims=Claims())["team/web"] == "shop"


def test_in_a_namespace_a_username_is_one_client_s() -> None:
    for other in ("web", "shop/web"):
        texts = (*client("shop", 1, "web"), *client("shop", 2, other, name="second"))
        outcome = compiled(*texts, claims=CLUSTER)
        assert list(outcome.entries) == ["client.shop.c"]
        [ready, *_] = outcome.conditions[Reference(Kind.CLIENT, ObjectKey("shop", "second"))]
        assert "Client shop/c" in ready.message


@pytest.mark.parametrize("username", ["App@work.example", "web"])
@pytest.mark.parametrize("mistake", ["its Secret is away", "its Client is invalid"])
def test_a_mistake_does_not_hand_a_username_to_an_older_client_of_another_namespace(
    username: str, mistake: str
) -> None:
    claims = Claims(frozenset({"mail"}), "mail", BY_TXT)
    work, secret = client("work", 2, username)
    before = compiled(PROVEN, work, secret, claims=claims)
    if mistake == "its Secret is away":
        left: tuple[str, ...] = (work,)
    else:
        left = (work.replace("senders", "sender"), secret)
    rival = client("shop", 1, username)
    for _ in range(2):
        before = compiled(PROVEN, *left, *rival, last_good=before, claims=claims)
        names = {
            entry.key.namespace: entry.username
            for entry in before.entries.values()
            if isinstance(entry, Client)
        }
        assert names == {"work": username, "shop": f"shop/{username}"}


def test_who_has_a_username_keeps_it_though_an_older_client_wants_it_later() -> None:
    shop, work = client("shop", 1, "other"), client("work", 2, "web")
    before = compiled(*shop, *work, claims=CLUSTER)
    after = compiled(*client("shop", 1, "web"), *work, last_good=before, claims=CLUSTER)
    assert reasons(after, Kind.CLIENT, "c", "work") == []
    assert reasons(after, Kind.CLIENT, "c", "shop") == ["UsernameConflict", "UsernameConflict"]


def test_who_loses_the_short_name_keeps_the_long_one_however_often_it_is_compiled() -> None:
    """An older Client of the same namespace has wanted the username for long, too."""
    has, old = client("shop", 2, "web"), client("shop", 1, "web", name="old")
    texts = (*has, *old)
    published = compiled(*has, claims=CLUSTER)
    published = compiled(*texts, last_good=published, claims=CLUSTER)
    better = client("mail", 3, "web")
    for _ in range(3):
        published = compiled(*texts, *better, last_good=published, claims=CLUSTER)
        assert list(published.entries) == ["client.mail.c", "client.shop.c"]
    published = compiled(*texts, last_good=published, claims=CLUSTER)  # the better one is deleted
    entry = published.entries["client.shop.c"]
    assert isinstance(entry, Client)
    assert entry.username == "web"


def test_who_has_the_long_form_does_not_come_before_older_ones_for_the_short() -> None:
    work, mail = client("work", 2, "web"), client("mail", 3, "web")
    published = compiled(*work, *mail, claims=CLUSTER)
    shop = client("shop", 1, "web")
    published = compiled(*work, *shop, last_good=published, claims=CLUSTER)  # mail's is deleted
    assert reasons(published, Kind.CLIENT, "c", "shop") == []
    assert reasons(published, Kind.CLIENT, "c", "work") == ["UsernameConflict", "UsernameConflict"]


def test_a_client_that_is_stale_by_its_relay_keeps_its_username_from_older_ones() -> None:
    """Its Secret names another username meanwhile, which it does not have yet."""
    before = compiled(*client("shop", 2, "web"), claims=CLUSTER)
    stale = client("shop", 2, "other", more=", relayRef: {name: typo}")
    old = client("shop", 1, "web", name="old")
    after = compiled(*stale, *old, last_good=before, claims=CLUSTER)
    assert after.entries == before.entries
    [ready, *_] = after.conditions[Reference(Kind.CLIENT, ObjectKey("shop", "old"))]
    assert ready.message == "username web belongs to Client shop/c; choose another"


def test_a_client_that_loses_the_short_name_keeps_its_login() -> None:
    shop, secret = client("shop", 2, "web")
    before = compiled(shop, secret, claims=CLUSTER)
    better = client("mail", 3, "web")  # only a better right takes a name that somebody has
    after = compiled(shop, *better, last_good=before, claims=CLUSTER)  # its Secret is gone, too
    entry = after.entries["client.shop.c"]
    assert isinstance(entry, Client)
    assert entry.username == "shop/web"
    assert entry.verifier is not None
    assert password_matches(entry.verifier, "shop")


def test_the_full_name_outlives_no_consent() -> None:
    relay = "kind: Relay\nmetadata: {name: r, namespace: mail}\nspec: {mx: {}%s}"
    shared = relay % ", allowedNamespaces: {from: All}"
    shop = client("shop", 2, "web", more=", relayRef: {name: r, namespace: mail}")
    work = client("work", 1, "web")
    before = compiled(shared, *shop, *work, claims=CLUSTER)
    assert "client.shop.c" in before.entries
    after = compiled(relay % "", *shop, *work, last_good=before, claims=CLUSTER)
    assert "client.shop.c" not in after.entries
