"""
One installation of the chart on a cluster: tests install, change and inspect it.

It runs the commands that a user would type, and uses the chart's own names.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postroad_harness.cluster import kube
from postroad_harness.cluster.kube import Object, helm, kubectl, until
from postroad_harness.cluster.outside import Place, Way

CHART = Path("charts/postroad")
HTTP = 8080
COMPONENTS = ("ingress", "delivery", "operator", "nats")


@dataclass
class Release:
    """A release by its name and namespace, with the values it was last given."""

    namespace: str
    values: dict[str, Any]
    name: str = "postroad"
    replicas: Mapping[str, int] = field(
        default_factory=lambda: {"ingress": 2, "delivery": 2, "operator": 1, "nats": 3}
    )

    def workload(self, component: str) -> str:
        """Return the name that kubectl takes for a component."""
        kind = "statefulset" if component == "nats" else "deployment"
        return f"{kind}/{self.name}-{component}"

    async def install(self, *flags: str) -> None:
        """Run `helm install --wait`, into a namespace that admits restricted pods only."""
        await self._helm("install", "--wait", "--timeout", "5m", *flags)

    async def upgrade(self, *flags: str, **values: Any) -> None:
        """Run `helm upgrade` with some values changed."""
        self.values = merged(self.values, values)
        await self._helm("upgrade", *flags)

    async def _helm(self, verb: str, *flags: str) -> None:
        where = ("--namespace", self.namespace, "--values", "-")
        values = json.dumps(self.values)
        await helm(verb, self.name, str(CHART), *where, *flags, stdin=values, seconds=400)

    async def test(self) -> None:
        """Run `helm test`; CommandFailed when it fails."""
        await helm("test", self.name, "-n", self.namespace, "--timeout", "2m", seconds=150)

    async def uninstall(self) -> None:
        """Run `helm uninstall` and wait until the pods are gone."""
        await helm("uninstall", self.name, "-n", self.namespace, "--wait", "--timeout", "3m")
        await self.kubectl("wait", "--for=delete", "pod", "-l", self._labels(), "--timeout=180s")

    async def is_installed(self) -> bool:
        """Say whether Helm knows the release."""
        found = json.loads((await helm("list", "-a", "-n", self.namespace, "-o", "json")).out)
        return any(each["name"] == self.name for each in found)

    async def kubectl(self, *words: str, seconds: float = 200) -> str:
        """Run kubectl in the release's namespace and return what it printed."""
        return (await kubectl("-n", self.namespace, *words, seconds=seconds)).out

    def _labels(self, component: str | None = None) -> str:
        labels = f"app.kubernetes.io/instance={self.name}"
        return f"{labels},app.kubernetes.io/component={component}" if component else labels

    async def pods(self, component: str) -> list[Object]:
        """Return a component's pods, those that are leaving too."""
        return await kube.items("-n", self.namespace, "pods", "-l", self._labels(component))

    async def ready_pods(self, component: str) -> list[Object]:
        """Return a component's pods that are ready."""
        return [pod for pod in await self.pods(component) if kube.is_ready(pod)]

    async def scale(self, component: str, replicas: int) -> None:
        """Scale a component and wait until as many pods are ready, and no others are there."""
        await self.kubectl("scale", self.workload(component), f"--replicas={replicas}")
        await self.has(component, replicas)

    async def has(self, component: str, replicas: int, *, seconds: float = 180) -> None:
        """Wait until a component has exactly so many pods and all are ready."""

        async def look() -> bool:
            pods = await self.pods(component)
            return len(pods) == replicas and all(map(kube.is_ready, pods))

        await until(f"{replicas} ready {component} pods", look, seconds=seconds)

    async def delete_at_once(self, pod: Object) -> None:
        """Delete a pod without any grace."""
        name = pod["metadata"]["name"]
        await self.kubectl("delete", "pod", name, "--grace-period=0", "--force")

    async def all_there(self, *, seconds: float = 240) -> None:
        """Wait until every component has all its pods, from its latest revision."""
        for component, replicas in self.replicas.items():
            words = ("rollout", "status", self.workload(component), f"--timeout={seconds:.0f}s")
            await self.kubectl(*words, seconds=seconds + 10)
            await self.has(component, replicas, seconds=seconds)

    async def spread(self) -> None:
        """Create the pods again, so that they are on different nodes."""
        for component in ("ingress", "delivery"):
            await self.kubectl("rollout", "restart", self.workload(component))
        await self.all_there()

    async def ways(self, place: Place, *, proxy: bool = False) -> tuple[dict[str, Way], int | None]:
        """Return the way to the relay port by each node, and the port of the nodes' health."""
        service = await self.service(proxy=proxy)
        port = next(p for p in service["spec"]["ports"] if p["port"] == 25)
        given = service["status"].get("loadBalancer", {}).get("ingress", [])
        ways = {}
        for node in await node_addresses():
            if not given:
                ways[node] = Way(node, port["nodePort"])
            elif place.marks:
                ways[node] = Way(given[0]["ip"], 25, place.marks[node])
            else:
                ways[given[0]["ip"]] = Way(given[0]["ip"], 25)
        health = service["spec"].get("healthCheckNodePort") if place.marks else None
        return ways, health

    async def service(self, *, proxy: bool = False) -> Object:
        """Return the Service that takes mail."""
        name = f"{self.name}-ingress-proxy" if proxy else f"{self.name}-ingress"
        return await kube.get("-n", self.namespace, "service", name)

    async def command(self, *words: str) -> str:
        """Run a `postroad` command inside the toolbox's pod and return what it printed."""
        return await self.kubectl("exec", self.workload("toolbox"), "--", "postroad", *words)

    async def page(self, pod: Object, page: str, port: int = HTTP) -> str:
        """Return an HTTP page of a pod, by way of the API server."""
        name = pod["metadata"]["name"]
        return await kube.raw(kube.pod_page(self.namespace, name, port, page))


async def node_addresses() -> list[str]:
    """Return the nodes' addresses, those of dead ones too."""
    return [
        next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        for node in await kube.items("nodes")
    ]


async def make_namespace(name: str, **labels: str) -> None:
    """Make a namespace that admits restricted pods only."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
    metadata = {"name": name, "labels": enforced}
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with changes laid over them, as Helm does."""
    laid = dict(values)
    for key, change in changes.items():
        old = laid.get(key)
        both = isinstance(old, Mapping) and isinstance(change, Mapping)
        laid[key] = merged(old, change) if both else change  # type: ignore[arg-type]
    return laid


def secret(namespace: str, name: str, kind: str = "Opaque", **data: str) -> Object:
    """Return a Secret, for Clients if it has a login; underscores in keys stand for dots."""
    encoded = {k.replace("_", "."): base64.b64encode(v.encode()).decode() for k, v in data.items()}
    metadata: Object = {"namespace": namespace, "name": name}
    if kind == "kubernetes.io/basic-auth":
        metadata["labels"] = {"postroad.dev/secret-type": "login"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind} | {
        "data": encoded
    }


def resource(kind: str, namespace: str, name: str, **spec: Any) -> Object:
    """Return a Relay, Domain, Client, Quota or DomainGrant."""
    return {
        "apiVersion": "postroad.dev/v1alpha1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def base_namespace() -> str:
    """Return the namespace of the release; those of its users have it as their first part."""
    return os.environ.get("POSTROAD_E2E_NAMESPACE", "postroad-e2e")
