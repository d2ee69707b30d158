"""Secrets and namespaces that objects depend on are followed, by the operator as a process."""

import asyncio

import pytest

from postroad.manifests.objects import Kind
from postroad.testing.patience import patient
from postroad_harness.cluster.operators import (
    DOMAIN,
    RELAY,
    Cluster,
    Object,
    in_force,
)

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]


async def test_a_secret_is_missed_then_found_then_followed(cluster: Cluster) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.apply(
        Kind.CLIENT, "web", {"auth": {"secretRef": {"name": "login"}}, "senders": ["*@a.example"]}
    )
    found = await cluster.condition(Kind.CLIENT, "web", "SecretsResolved", "False")
    assert found["reason"] == "SecretNotFound"
    await cluster.secret("login", username="web", password="one")
    await cluster.condition(Kind.CLIENT, "web", "Ready", "True")
    first = await in_force(configuration, lambda now: "web" in now.clients_by_username)
    before = first.clients_by_username["web"].verifier
    await cluster.secret("login", username="web", password="two")
    await in_force(
        configuration,
        lambda now: (
            "web" in now.clients_by_username and now.clients_by_username["web"].verifier != before
        ),
        5,
    )


async def test_a_secret_is_used_once_its_owner_has_labelled_it(cluster: Cluster) -> None:
    await cluster.start_operator()
    configuration = await cluster.follow()
    await cluster.secret("login", label="other", username="web", password="one")
    hop = {"smarthosts": [{"host": "smtp.example"}], "auth": {"secretRef": {"name": "login"}}}
    await cluster.apply(Kind.RELAY, "out", hop)
    refused = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
    assert refused["reason"] == "SecretNotOptedIn"

    path = f"/api/v1/namespaces/{cluster.namespace}/secrets/login"
    merge = {"Content-Type": "application/merge-patch+json"}

    async def owner_writes(**metadata: Object) -> None:
        await cluster.kube.request("PATCH", path, body={"metadata": metadata}, headers=merge)

    await owner_writes(labels={"postroad.dev/secret-type": "login"})
    # The operator's watch sees it from now on.
    async with asyncio.timeout(patient(20)):
        while refused["reason"] != "HostNotAllowed":
            refused = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
            await asyncio.sleep(0.05)
    await owner_writes(annotations={"postroad.dev/hosts": "smtp.example"})
    await in_force(configuration, lambda now: bool(now.relays))
    await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "True")
    await owner_writes(labels={"postroad.dev/secret-type": None})
    taken = await cluster.condition(Kind.RELAY, "out", "SecretsResolved", "False")
    assert taken["reason"] == "SecretNotOptedIn"


async def test_labels_of_a_namespace_are_followed(cluster: Cluster) -> None:
    guests = f"{cluster.namespace}-guests"
    await cluster.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": guests}})
    await cluster.start_operator(
        POSTROAD_WATCH_NAMESPACES=f"{cluster.namespace},{guests}",
    )
    configuration = await cluster.follow()
    selector = {"from": "Selector", "selector": {"matchLabels": {"mail": "yes"}}}
    await cluster.apply(Kind.RELAY, "out", {**RELAY, "allowedNamespaces": selector})
    await in_force(configuration, lambda now: bool(now.relays))
    host, cluster.namespace = cluster.namespace, guests
    ref = {"name": "out", "namespace": host}
    await cluster.apply(Kind.DOMAIN, "shop", {**DOMAIN, "send": {"relayRef": ref}})
    refused = await cluster.condition(Kind.DOMAIN, "shop", "Accepted", "False")
    assert refused["reason"] == "NotAllowedByRelay"
    for label, status in (("yes", "True"), (None, "False")):
        await cluster.kube.request(
            "PATCH",
            f"/api/v1/namespaces/{guests}",
            body={"metadata": {"labels": {"mail": label}}},
            headers={"Content-Type": "application/merge-patch+json"},
        )
        await cluster.condition(Kind.DOMAIN, "shop", "Accepted", status, seconds=5)
