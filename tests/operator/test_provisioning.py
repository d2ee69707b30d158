"""What the operator says of a queue that was made with other numbers than it is given."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from nats import connect as connect_plainly

from postroad.operator.jetstream.provisioning import left_out, look_after
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import Layout
from postroad.testing.children import dies_with_us
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer, free_ports

NOWHERE = """
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {token: none}}]
"""


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (Layout(5, 32, 3), False),
        (Layout(6, 32, 3), False),
        (Layout(5, 8, 1), False),  # they never change, and every process goes by those that are
        (Layout(4, 32, 3), True),
    ],
)
def test_a_lower_number_of_shards_is_a_problem(wanted: Layout, problem: bool) -> None:
    assert (left_out(Layout(5, 32, 3), wanted) is not None) is problem


async def checks(port: int, check: str) -> str:
    """Return what /readyz says of a check once it says anything else than that it begins."""
    async with aiohttp.ClientSession() as client, asyncio.timeout(patient(20)):
        while True:
            try:
                async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    said = json.loads(await answer.text())["checks"]
            except aiohttp.ClientError:
                said = {}
            if check in said and said["queue"] == "ok":
                return str(said[check])
            await asyncio.sleep(0.05)


@pytest.mark.nats
@pytest.mark.parametrize(
    ("shards", "told"), [(3, "has 4 shards and the settings name 3"), (4, "ok")]
)
async def test_an_operator_that_leaves_out_shards_is_not_ready(
    tmp_path: Path, shards: int, told: str
) -> None:
    """So a rollout stops before it, and the alert for pods that are not ready is raised."""
    keyrings_in(tmp_path)
    (tmp_path / "kubeconfig").write_text(NOWHERE)
    [port] = free_ports(1)
    async with NatsServer(tmp_path) as nats:
        await provision(SpoolOptions((nats.url,), role="operator"), layout=Layout(4, 2, 1))
        operator = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", "postroad.operator"),
            env={
                **os.environ,
                "KUBECONFIG": str(tmp_path / "kubeconfig"),
                "POSTROAD_HTTP": f"127.0.0.1:{port}",
                "POSTROAD_NATS_URL": nats.url,
                "POSTROAD_INGRESS_KEY_FILE": str(tmp_path / "ingress.key"),
                "POSTROAD_DELIVERY_KEY_FILE": str(tmp_path / "delivery.key"),
                "POSTROAD_QUEUE_SHARDS": str(shards),
                "POSTROAD_QUEUE_LANES": "2",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            preexec_fn=dies_with_us(),
        )
        try:
            assert told in await checks(port, "shards")
        finally:
            operator.terminate()
            await operator.wait()


@pytest.mark.nats
async def test_a_stream_that_the_servers_have_lost_is_made_again(tmp_path: Path) -> None:
    """Mail that needs it waits, and new mail of its shard is refused."""
    async with NatsServer(tmp_path) as nats:
        again = partial(
            provision, SpoolOptions(servers=(nats.url,)), layout=Layout(1, 2, 1), capacity=0
        )
        await again()
        client = await connect_plainly(nats.url)
        streams = client.jetstream()
        await streams.delete_stream("POSTROAD_BODY_0")
        looking = asyncio.create_task(look_after(again, every=timedelta(seconds=0.05)))
        async with asyncio.timeout(patient(10)):
            while "POSTROAD_BODY_0" not in [
                info.config.name for info in await streams.streams_info()
            ]:
                await asyncio.sleep(0.02)
        looking.cancel()
        await client.close()
