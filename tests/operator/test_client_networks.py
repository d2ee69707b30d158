"""The API server refuses Clients that name networks, where the chart says that tenants write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from postroad.manifests.objects import Kind
from postroad.operator.kubernetes.client import ApiRefused, Kube, kind_path, object_path
from postroad.policy.model import ObjectKey
from postroad.testing.patience import patient
from postroad_harness.cluster.chart import Object, helms
from postroad_harness.left_out import leave_out

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
NETWORKS: Object = {"networks": ["10.1.0.0/16", "10.2.0.0/16"], "senders": ["*"]}
LOGIN: Object = {"auth": {"secretRef": {"name": "login"}}, "senders": ["*"]}


def policies(values: dict[str, object]) -> list[Object]:
    """Return the policies of a release."""
    found = helms()
    if not found:
        leave_out("there is no helm on PATH, and the lab cluster's tool has built none")
    rendered = found[0].render(values)
    return [each for each in rendered if each["kind"].startswith("ValidatingAdmissionPolicy")]


@asynccontextmanager
async def in_force(kube: Kube, objects: list[Object], tenant: str) -> AsyncIterator[None]:
    """Have policies in force, which takes the API server a moment."""
    paths = {
        "ValidatingAdmissionPolicy": POLICIES,
        "ValidatingAdmissionPolicyBinding": POLICIES.replace("policies", "policybindings"),
    }
    for each in objects:
        await kube.request("POST", paths[each["kind"]], body=each)
    try:
        async with asyncio.timeout(patient(30)):
            while not await refused(kube, tenant, NETWORKS, dry=True):
                await asyncio.sleep(0.1)
        yield
    finally:
        for each in objects:
            await kube.request("DELETE", f"{paths[each['kind']]}/{each['metadata']['name']}")


async def refused(kube: Kube, namespace: str, spec: Object, *, dry: bool = False) -> str:
    """Create a Client and return why that was refused, "" if it was not."""
    name = "probe" if dry else f"c-{uuid4().hex[:8]}"
    body = {
        "apiVersion": "postroad.dev/v1alpha1",
        "kind": "Client",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }
    path = kind_path(Kind.CLIENT, namespace) + ("?dryRun=All" if dry else "")
    try:
        await kube.request("POST", path, body=body)
    except ApiRefused as error:
        return str(error)
    return ""


@pytest.fixture
async def namespaces(kube: Kube) -> list[str]:
    """Give two namespaces of tenants, and a third one that nobody has named."""
    made = [f"t-{uuid4().hex[:8]}" for _ in range(3)]
    for name in made:
        await kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    return made


async def test_only_a_namespace_that_may_names_networks(kube: Kube, namespaces: list[str]) -> None:
    tenant, granted, elsewhere = namespaces
    key = ObjectKey(tenant, "earlier")
    body: dict[str, Any] = {
        "apiVersion": "postroad.dev/v1alpha1",
        "kind": "Client",
        "metadata": {"name": key.name, "namespace": tenant},
        "spec": NETWORKS,
    }
    await kube.request("POST", kind_path(Kind.CLIENT, tenant), body=body)
    values: dict[str, object] = {
        "operator.watchNamespaces[0]": tenant,
        "operator.watchNamespaces[1]": granted,
        "operator.networkNamespaces[0]": granted,
    }
    async with in_force(kube, policies(values), tenant):
        said = await refused(kube, tenant, NETWORKS)
        assert "this namespace may not name networks; log in with spec.auth" in said
        assert not await refused(kube, tenant, LOGIN)
        assert not await refused(kube, granted, NETWORKS)
        assert not await refused(kube, elsewhere, NETWORKS)  # of another release

        # What was there before stays, and may be narrowed.
        there = await kube.request("GET", object_path(Kind.CLIENT, key))
        there["spec"] = {**NETWORKS, "networks": ["10.1.0.0/16"], "class": "Bulk"}
        there = await kube.request("PUT", object_path(Kind.CLIENT, key), body=there)
        there["spec"]["networks"] = ["10.1.0.0/16", "0.0.0.0/0"]
        with pytest.raises(ApiRefused, match="may not name networks"):
            await kube.request("PUT", object_path(Kind.CLIENT, key), body=there)


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({}, 0),  # only the owner's own namespace is followed
        ({"operator.watchNamespaces[0]": "one"}, 0),  # it is the owner's, too
        ({"operator.watchNamespaces[0]": "one", "operator.watchNamespaces[1]": "two"}, 2),
        ({"operator.clusterWide": True}, 2),
        ({"operator.clusterWide": True, "operator.networkNamespaces[0]": "*"}, 0),
    ],
)
def test_the_policy_is_there_where_tenants_write(values: dict[str, object], number: int) -> None:
    assert len(policies(values)) == number
