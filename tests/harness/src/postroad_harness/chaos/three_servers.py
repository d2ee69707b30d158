"""
A chaos run on a cluster of three replicating nats-servers, all on one machine.

This module does what Kubernetes does for a real cluster. It creates the queue, publishes the
manifests and spreads the leaders as the operator does. It runs ingress and delivery under the
supervisor of `up`, and starts a killed nats-server again after a few seconds, as a kubelet does. A
kill hits the server that leads a shard, and only while all three run, because a majority of three
survives the loss of only one.
"""

import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import nats

from postroad.cli.standalone.listeners import bind
from postroad.cli.standalone.supervisor import ChildSpec, Supervisor
from postroad.manifests.compiler.check import check
from postroad.operator.jetstream.leaders import keep_spread
from postroad.policy.secrets.seal import Reader
from postroad.queue.configuration import publish_objects
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import Layout
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.queue.nats_cluster import NatsCluster
from postroad.units.addresses import ListenAddress
from postroad_harness.chaos.rig import ENVIRONMENT, drawn

_LAYOUT = Layout(shards=3, lanes=8, replicas=3)
_AWAY = 3.0  # seconds until a server that was killed is started again
_WORKERS = 2
_GRACE = 5.0  # seconds that processes have to end
_PATIENCE = 60.0  # seconds for servers to find each other, and processes to get ready


async def _provisioned(options: SpoolOptions) -> None:
    """Create the queue, with retries as in the operator: the servers may not have met yet."""
    while True:
        try:
            await provision(options, layout=_LAYOUT)
            return
        except SpoolUnavailable:
            await asyncio.sleep(0.5)


class ThreeServers:
    """Two ingress and two delivery processes over three nats-servers."""

    what = "three nats-servers, three replicas"

    def __init__(self) -> None:
        self._cluster: NatsCluster | None = None
        self._supervisor: Supervisor | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._away: asyncio.Task[None] | None = None

    async def start(self, folder: Path, manifests: str) -> None:
        """Start the servers, make the queue, publish, start the processes."""
        self._cluster = NatsCluster(folder / "nats")
        await self._cluster.__aenter__()
        (folder / "manifests.yaml").write_text(manifests)
        options = SpoolOptions(servers=self._cluster.urls, role="operator", process="chaos")
        async with asyncio.timeout(patient(_PATIENCE)):
            await _provisioned(options)
            spool = await connect(options)
            try:
                keyrings = keyrings_in(folder)
                mistakes, compiled = check([folder / "manifests.yaml"], keyrings=keyrings)
                assert not mistakes, mistakes
                await publish_objects(spool, compiled.entries, keyrings)
            finally:
                await spool.close()
            self._tasks.append(asyncio.create_task(keep_spread(options, _LAYOUT)))
            self._supervisor = Supervisor(self._specs(folder))
            self._tasks.append(asyncio.create_task(self._supervisor.run()))
            await self._supervisor.wait_ready()

    def _specs(self, folder: Path) -> list[ChildSpec]:
        assert self._cluster is not None
        shared = {
            "POSTROAD_NATS_URL": ",".join(self._cluster.urls),
            "POSTROAD_TLS_STATE": str(folder / "tls"),
            "POSTROAD_LOG_LEVEL": "error",
            **ENVIRONMENT,
        }
        listeners = bind({"relay": ListenAddress("127.0.0.1", 0)}, _WORKERS)["relay"]
        self._sockets = listeners.sockets  # kept open for processes that start again
        keys = {
            reader: {**shared, "POSTROAD_CLUSTER_KEY_FILE": str(folder / f"{reader}.key")}
            for reader in Reader
        }
        delivery = keys[Reader.DELIVERY]
        specs = [ChildSpec(f"delivery-{n}", "postroad.delivery", delivery) for n in range(_WORKERS)]
        for number, listener in enumerate(listeners.sockets):
            own = {**keys[Reader.INGRESS], "POSTROAD_LISTEN_RELAY": f"fd:{listener.fileno()}"}
            specs.append(
                ChildSpec(f"ingress-{number}", "postroad.ingress", own, [listener.fileno()])
            )
        return specs

    @property
    def port(self) -> int:
        """The relay port, shared by the ingress processes."""
        return int(self._sockets[0].getsockname()[1])

    def kinds(self) -> Sequence[str]:
        """Processes, and the leader of a shard."""
        return ("ingress", "delivery", "leader")

    async def kill(self, kind: str, draw: float) -> str | None:
        """SIGKILL a process or a leader, unless a server is down already."""
        if kind == "leader":
            return await self._kill_leader(int(draw * _LAYOUT.shards) % _LAYOUT.shards)
        assert self._supervisor is not None
        found = {
            child.spec.name: child.pid
            for child in self._supervisor.children
            if child.pid is not None and child.spec.name.startswith(kind)
        }
        if not found:
            return None
        name = drawn(sorted(found), draw)
        os.kill(found[name], signal.SIGKILL)
        return name

    async def _kill_leader(self, shard: int) -> str | None:
        assert self._cluster is not None
        if self._away is not None and not self._away.done():
            return None
        leader = await self._leader(shard)
        if leader is None:
            return None
        server = self._cluster.servers[int(leader.rpartition("-")[2])]
        server.kill()
        self._away = asyncio.create_task(self._bring_back(leader))
        return f"{leader}, leader of shard {shard}"

    async def _leader(self, shard: int) -> str | None:
        assert self._cluster is not None
        client = await nats.connect(servers=list(self._cluster.urls))
        try:
            subject = f"$JS.API.STREAM.INFO.POSTROAD_Q_{shard}"
            answer = await client.request(subject, b"", timeout=2)
            said = json.loads(answer.data)
            leader = said.get("cluster", {}).get("leader")
            return str(leader) if leader else None
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            return None  # it is being elected
        finally:
            await client.close()

    async def _bring_back(self, name: str) -> None:
        assert self._cluster is not None
        await asyncio.sleep(_AWAY)
        server = self._cluster.servers[int(name.rpartition("-")[2])]
        server.spawn()
        async with asyncio.timeout(patient(_PATIENCE)):
            while True:
                try:
                    await server.until_healthy()
                    return
                except TimeoutError:
                    continue  # it catches up with the others first

    async def stop(self) -> None:
        """End processes, then servers."""
        if self._supervisor is not None:
            await self._supervisor.stop(grace=_GRACE)
        for task in [*self._tasks, *([self._away] if self._away else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in getattr(self, "_sockets", ()):
            listener.close()
        if self._cluster is not None:
            await self._cluster.__aexit__()
