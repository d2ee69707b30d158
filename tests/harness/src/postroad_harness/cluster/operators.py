"""
Operators as processes, with a real API server and nats-server, and a process that follows them.

There are no nodes and no pods: an operator does not need them.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from postroad.manifests.objects import Kind
from postroad.operator.kubernetes.client import ApiRefused, Kube, kind_path, object_path
from postroad.policy.model import ObjectKey
from postroad.policy.secrets.seal import Keyrings
from postroad.policy.snapshot import Snapshot
from postroad.queue.configuration import Configuration
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.options import SpoolOptions
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer

Object = dict[str, Any]
T = TypeVar("T")
_LOOK = 0.05  # seconds between two looks at the API server
RELAY: Object = {"mx": {}}
DOMAIN: Object = {"domain": "shop.example", "send": {"relayRef": {"name": "out"}}}


@dataclass
class Cluster:
    """An API server, a nats-server, operators, and a process that follows the configuration."""

    kube: Kube
    nats: NatsServer
    namespace: str
    folder: Path
    environment: dict[str, str]
    keyrings: Keyrings
    operators: list[asyncio.subprocess.Process] = field(default_factory=list)
    spools: list[Spool] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start_operator(self, name: str = "one", **more: str) -> asyncio.subprocess.Process:
        """Start an operator that uses the port of its name."""
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-Im", "postroad.operator"),
                env={**os.environ, **self.environment, "POSTROAD_POD_NAME": name, **more},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=dies_with_us(),
            )
        self.operators.append(process)
        return process

    async def follow(self, process: str = "ingress-0") -> Configuration:
        """Be a process of the data plane."""
        async with asyncio.timeout(patient(20)):
            options = SpoolOptions(servers=(self.nats.url,), role="ingress", process=process)
            spool = await until_found(lambda: _connected(options))
        self.spools.append(spool)
        configuration = Configuration(spool, self.keyrings)
        self.tasks.append(asyncio.create_task(configuration.run()))
        return configuration

    async def apply(self, kind: Kind, name: str, spec: Object) -> None:
        """Make or change an object."""
        key = ObjectKey(self.namespace, name)
        body = {
            "apiVersion": "postroad.dev/v1alpha1",
            "kind": str(kind),
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
        try:
            await self.kube.request("POST", kind_path(kind, self.namespace), body=body)
        except ApiRefused as error:
            if error.status != 409:
                raise
            there = await self.kube.request("GET", object_path(kind, key))
            body["metadata"] = there["metadata"]
            await self.kube.request("PUT", object_path(kind, key), body=body)

    async def get(self, kind: Kind, name: str) -> Object:
        """Return an object."""
        return await self.kube.request("GET", object_path(kind, ObjectKey(self.namespace, name)))

    async def condition(
        self, kind: Kind, name: str, of: str, status: str, *, seconds: float = 20
    ) -> Object:
        """Wait for a condition of the object as it is now, and return it."""
        last: Object = {}
        try:
            async with asyncio.timeout(patient(seconds)):
                while True:
                    last = await self.get(kind, name)
                    for each in last.get("status", {}).get("conditions", ()):
                        fresh = each["observedGeneration"] == last["metadata"]["generation"]
                        if each["type"] == of and each["status"] == status and fresh:
                            return dict(each)
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            said = "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))
            raise AssertionError(f"{last.get('status')}\n{said}") from None

    async def secret(self, name: str, *, label: str = "login", **values: str) -> None:
        """Make a Secret for logins, or change it."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        metadata = {"name": name, "labels": {"postroad.dev/secret-type": label}}
        body = {"metadata": metadata, "stringData": values}
        with contextlib.suppress(ApiRefused):
            await self.kube.request("DELETE", f"{path}/{name}")
        await self.kube.request("POST", path, body=body)

    async def end(self) -> None:
        """End all of it."""
        for process in self.operators:
            if process.returncode is None:
                process.kill()
                await process.wait()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for spool in self.spools:
            await spool.close()


async def _connected(options: SpoolOptions) -> Spool | None:
    try:
        return await connect(options)
    except Exception:
        return None


async def until_found(look: Callable[[], Awaitable[T | None]]) -> T:
    """Look again and again until something is found, and return it."""
    while True:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(_LOOK)


async def in_force(
    configuration: Configuration, fits: Callable[[Snapshot], bool], seconds: float = 20
) -> Snapshot:
    """Wait for a Snapshot that fits."""
    async with asyncio.timeout(patient(seconds)):
        while (now := configuration.current) is None or not fits(now):
            await configuration.changed()
        return now
