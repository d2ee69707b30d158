"""
Ids of repeated publishes do not stay in the servers' memory longer than repeats need them.

Whoever publishes chooses the ids, which may have up to 64 KB each. A compromised ingress process
could fill the memory of all servers with them, and they stayed for minutes after it had gone.
Three servers need some seconds to start.
"""

import asyncio
from pathlib import Path

import pytest

from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.streams.subjects import body_stream
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.walls import Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
LONG = "x" * 60_000
SESSION = "$KV.presence.session.ingress.x"


async def _until_forgotten(servers: Servers, subject: str, message_id: str) -> None:
    async with asyncio.timeout(patient(10)):
        while True:
            said = await servers.ask("ingress", subject, "x", **{"Nats-Msg-Id": message_id})
            if not said.get("duplicate"):
                return
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_a_bucket_forgets_ids_at_once(tmp_path: Path, replicas: int) -> None:
    async with walled(tmp_path, ACCOUNTS, replicas=replicas) as servers:
        for subject, message_id in (("$KV.quotas.x", "short"), (SESSION, LONG)):
            said = await servers.ask("ingress", subject, "x", **{"Nats-Msg-Id": message_id})
            assert "error" not in said, said
            await _until_forgotten(servers, subject, message_id)


@pytest.mark.parametrize("replicas", [1, 3])
async def test_a_count_has_no_long_id_and_no_large_value(tmp_path: Path, replicas: int) -> None:
    async with walled(tmp_path, ACCOUNTS, replicas=replicas) as servers:
        for key in ("$KV.quotas.x", "$KV.quotas.login.x"):
            for body, headers in (("x", {"Nats-Msg-Id": LONG}), (LONG, {})):
                said = await servers.ask("ingress", key, body, **headers)
                assert "maximum" in said["error"]["description"], said


async def test_a_queue_of_an_earlier_release_gets_the_limits(
    server: NatsServer, link: NatsLink
) -> None:
    windows = {"KV_quotas": 0.1, "KV_presence_ingress": 0.1, "POSTROAD_EVENTS": 120.0}
    windows |= {"POSTROAD_I_0": 120.0, body_stream(0): 60.0, "POSTROAD_Q_0": 300.0}
    for stream in windows:
        config = (await link.jetstream.stream_info(stream)).config
        former = min(300.0, config.max_age or 300.0)  # it may not be longer
        await link.jetstream.update_stream(config.evolve(duplicate_window=former, max_msg_size=-1))
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
    now = {name: (await link.jetstream.stream_info(name)).config for name in windows}
    assert {name: config.duplicate_window for name, config in now.items()} == windows
    assert now["KV_quotas"].max_msg_size == 8192
