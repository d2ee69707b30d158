"""Scenario 8: objects that are wrong, not ready, or not admitted; each status says what to do."""

from typing import Any

import pytest

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import CommandFailed, Object
from postroad_harness.cluster.release import make_namespace, resource, secret
from postroad_harness.cluster.report import record, settle
from postroad_harness.cluster.scene import Scene, ready, wait

SECONDS = 15.0  # a changed Secret shows within seconds
NO_GOOD: list[tuple[str, dict[str, Any], str]] = [
    ("Domain", {"domain": "not a domain!"}, "spec.domain"),
    ("Domain", {"domain": "a.example", "typo": 1}, "typo"),
    ("Relay", {"destinations": ["*"]}, "mx"),
    ("Relay", {"mx": {}, "smarthosts": [{"host": "h.example"}]}, "mx"),
    ("Relay", {"mx": {}, "tls": {"mode": "Sometimes"}}, "spec.tls.mode"),
    ("Relay", {"smarthosts": [{"host": "h.example", "port": 70000}]}, "port"),
    ("Quota", {"subject": {"namespace": "x"}, "limits": [{"messages": 1}]}, "per"),
    ("Client", {"networks": ["10.0.0.0/8"]}, "senders"),
]


@pytest.fixture
async def other(scene: Scene) -> Any:
    """Another tenant's namespace, which goes again."""
    name = f"{scene.release.namespace}-other"
    await make_namespace(name)
    yield name
    await kube.kubectl("delete", "namespace", name, "--timeout=120s", seconds=130)


async def test_secret_missing_domain_conflict_and_no_consent(steady: Scene, other: str) -> None:
    async with steady.flow() as flow:
        await flow.reached(100)
        await secret_missing_then_made(other)
        await names_of_others(other, steady.release.namespace)
        await no_consent(other, steady.shop)
        await settle("8. Secret missing then made, a name claimed twice, no consent", flow)


async def secret_missing_then_made(namespace: str) -> None:
    client = resource(
        *("Client", namespace, "login"),
        auth={"secretRef": {"name": "login"}},
        senders=["*@other.example"],
    )
    await kube.apply(client)
    await says(client, "SecretsResolved", "False", "SecretNotFound")
    login = {"username": "other", "password": "long enough to be one"}
    await kube.apply(secret(namespace, "login", "kubernetes.io/basic-auth", **login))
    await ready(client, seconds=SECONDS)
    await kube.kubectl("delete", "secret", "login", "-n", namespace)
    await says(client, "SecretsResolved", "False", "SecretNotFound")


async def names_of_others(namespace: str, release: str) -> None:
    younger = resource("Domain", namespace, "taken", domain="shop.example", send={})
    await kube.apply(younger)
    await ready(younger, seconds=SECONDS)  # for the mail of its own namespace
    await says(younger, "DomainClaimed", "False", "NotProven")
    domain = resource("Domain", namespace, "granted", domain="granted.example", send={})
    names = {"domains": ["granted.example"], "namespaces": [namespace]}
    await kube.apply(domain, resource("DomainGrant", release, "granted", **names))
    await says(domain, "DomainClaimed", "True", "Granted")
    await kube.kubectl("delete", "domaingrants.postroad.dev", "granted", "-n", release)


async def no_consent(namespace: str, owner: str) -> None:
    relay = resource("Relay", owner, "private", destinations=["only.example"], mx={})
    await kube.apply(relay)
    domain = resource(
        *("Domain", namespace, "uninvited"),
        domain="uninvited.example",
        send={"relayRef": {"name": "private", "namespace": owner}},
    )
    await kube.apply(domain)
    await says(domain, "Accepted", "False", "NotAllowedByRelay")
    relay["spec"]["allowedNamespaces"] = {"from": "All"}
    await kube.apply(relay)
    await wait(domain, "Accepted", seconds=SECONDS)


async def says(thing: Object, kind: str, status: str, reason: str) -> None:
    """Wait for a condition, and check its reason and that it has a message for people."""
    await wait(thing, kind, status, seconds=SECONDS)
    name = f"{thing['kind'].lower()}.postroad.dev/{thing['metadata']['name']}"
    now = kube.condition(await kube.get("-n", thing["metadata"]["namespace"], name), kind)
    assert now["reason"] == reason
    assert now["message"]


@pytest.mark.parametrize(("kind", "spec", "word"), NO_GOOD)
async def test_a_wrong_object_is_refused_by_the_api_server(
    steady: Scene, kind: str, spec: dict[str, Any], word: str
) -> None:
    with pytest.raises(CommandFailed, match=word):
        await kube.apply(resource(kind, steady.shop, "wrong", **spec))
    record("8b. wrong objects refused by the API server", None, tried=len(NO_GOOD))
