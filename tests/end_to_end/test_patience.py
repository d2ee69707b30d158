"""A process that starts before its queue waits for it, and ends at once when it is asked to."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from postroad.policy.model import EgressPath, ObjectKey, Relay
from postroad.queue.configuration import publish_objects
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.children import dies_with_us
from postroad.testing.keys import keyrings_in
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role, password_of
from postroad.testing.queue.nats_server import NatsServer, free_ports

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"

Start = Callable[[str], Awaitable["Pod"]]
RELAY = Relay(ObjectKey("default", "a"), ("*",), EgressPath("relay:default/a"))


class Pod:
    """A process as it runs in a pod, with the settings the chart gives it."""

    def __init__(self, process: asyncio.subprocess.Process, http: int) -> None:
        self.process = process
        self._http = http

    async def says(self, page: str) -> tuple[int, str]:
        """Return what one of its pages says; status 0 when it does not listen yet."""
        url = f"http://127.0.0.1:{self._http}{page}"
        try:
            async with aiohttp.ClientSession() as client, client.get(url) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def until_it_says(self, page: str, status: int) -> str:
        """Wait for a page to have a status; return its text."""
        async with asyncio.timeout(patient(20)):
            while True:
                now, text = await self.says(page)
                if now == status:
                    return text
                assert self.process.returncode is None, "the process ended"
                await asyncio.sleep(0.05)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server that does not run yet."""
    (tmp_path / "server").mkdir()
    server = NatsServer(tmp_path / "server", accounts=ACCOUNTS)
    yield server
    server.kill()


@pytest.fixture
async def start(server: NatsServer, tmp_path: Path) -> AsyncIterator[Start]:
    """Give a function that starts a role's process."""
    pods: list[Pod] = []

    async def start_one(role: str) -> Pod:
        relay, http = free_ports(2)
        keyrings_in(tmp_path)
        (tmp_path / role).write_text(password_of(role))
        environ = {
            "POSTROAD_NATS_URL": server.url,
            "POSTROAD_NATS_USER": role,
            "POSTROAD_NATS_PASSWORD_FILE": str(tmp_path / role),
            "POSTROAD_NATS_API_PREFIX": API_PREFIX,
            "POSTROAD_NATS_PATIENCE": "1h",
            "POSTROAD_CLUSTER_KEY_FILE": str(tmp_path / f"{role}.key"),
            "POSTROAD_TLS_STATE": str(tmp_path / "tls"),
            "POSTROAD_LISTEN_RELAY": f"127.0.0.1:{relay}",
            "POSTROAD_HTTP": f"127.0.0.1:{http}",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-Im", f"postroad.{role}"),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **environ},
            preexec_fn=dies_with_us(),
        )
        pods.append(Pod(process, http))
        return pods[-1]

    yield start_one
    for pod in pods:
        if pod.process.returncode is None:
            pod.process.kill()
        await pod.process.communicate()


@pytest.mark.parametrize("role", ["ingress", "delivery"])
async def test_it_waits_for_the_servers_and_for_the_operator(
    server: NatsServer, start: Start, tmp_path: Path, role: str
) -> None:
    pod = await start(role)
    await pod.until_it_says("/healthz", 200)
    assert "starting" in await pod.until_it_says("/readyz", 503)

    await server.start()
    operator = as_role("operator", server.url)
    await provision(operator, layout=SINGLE_MACHINE, capacity=10**9)
    spool = await connect(operator)
    try:
        await publish_objects(spool, {"relay.default.a": RELAY}, keyrings_in(tmp_path))
        await pod.until_it_says("/readyz", 200)
    finally:
        await spool.close()

    pod.process.send_signal(signal.SIGTERM)
    _, told = await pod.process.communicate()
    assert pod.process.returncode == 0
    assert b"no connection to NATS yet" in told
    assert "Violation" not in server.log


async def test_a_process_that_waits_ends_when_it_is_asked_to(start: Start) -> None:
    pod = await start("ingress")
    await pod.until_it_says("/readyz", 503)
    pod.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(patient(10)):
        await pod.process.communicate()
    assert pod.process.returncode == 0
