"""Mail is refused by the space left on the disk, whatever JetStream has counted."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.spool.errors import SpoolFull
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.disk import encoded, keep_reporting, least_free, reserve
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role, password_of
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import first, now, put, take
from postroad.testing.queue.server_tls import ServerTls

pytestmark = pytest.mark.nats

ROOT = Path(__file__).parents[2]
LIMIT = 1_000_000_000
RESERVE = reserve(LIMIT)

OpenLink = Callable[[], Awaitable[object]]
OpenSpool = Callable[..., Awaitable[JetStreamSpool]]


def test_the_reserve_is_a_share_of_the_limit_and_no_more_than_some_gigabytes() -> None:
    assert reserve(10_000) == 2_000
    assert reserve(10**13) == 4 * 1024**3


@pytest.fixture
async def presence(server: NatsServer, open_link: OpenLink) -> Bucket:
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE, capacity=LIMIT)
    return Bucket(await open_link(), "presence")  # type: ignore[arg-type]


async def until(spool: JetStreamSpool, *, accepting: bool) -> None:
    async with asyncio.timeout(patient(15)):
        while spool.accepting is not accepting:
            await asyncio.sleep(0.05)


async def test_mail_is_refused_while_the_disk_still_has_something_left(
    presence: Bucket, open_spool: OpenSpool
) -> None:
    spool = await open_spool()
    await presence.put("disk.a", encoded(10 * RESERVE))
    await presence.put("disk.b", encoded(RESERVE // 2))  # the fullest of them counts
    await until(spool, accepting=False)
    assert isinstance(spool.refusal(), SpoolFull)
    with pytest.raises(SpoolFull):
        await put(spool)
    await presence.put("disk.b", encoded(2 * RESERVE))
    await until(spool, accepting=True)
    await put(spool)


async def test_what_was_stored_since_the_last_look_counts(
    presence: Bucket, open_spool: OpenSpool
) -> None:
    spool = await open_spool()
    await presence.put("disk.a", encoded(RESERVE + 400_000))  # and nobody tells what is left then
    refused = []
    for _ in range(20):
        with suppress(SpoolFull):
            await put(spool, content=b"x" * 300_000)
        refused.append(not spool.accepting)
    assert any(refused)


async def test_a_report_that_is_not_renewed_counts_no_more(
    presence: Bucket, open_spool: OpenSpool
) -> None:
    spool = await open_spool()
    await presence.put("disk.a", encoded(0), lifetime=timedelta(seconds=1.5))
    await until(spool, accepting=False)
    await until(spool, accepting=True)


@pytest.mark.parametrize(
    ("resume_from", "place"), [(0, Deferred(now() + timedelta(hours=1))), (100, Ready())]
)
async def test_a_deferral_is_not_written_to_a_disk_that_is_nearly_full(
    presence: Bucket, open_spool: OpenSpool, resume_from: int, place: Deferred | Ready
) -> None:
    spool = await open_spool()
    await put(spool)
    consumer = take(spool)
    (leased,) = await first(consumer, 1)
    await presence.put("disk.a", encoded(RESERVE // 4))
    await until(spool, accepting=False)
    again = Put(leased.record.next_step(resume_from=resume_from), place)
    await asyncio.wait_for(consumer.settle(leased, [again]), patient(10))
    [queued] = [each async for each in spool.waiting.list(Selection())]
    assert (queued.due, queued.record.step) == (None, 0), "it is ready still, as it was"
    await consumer.close()


async def test_what_is_free_is_told_and_told_again_when_it_changes(presence: Bucket) -> None:
    free = [7 * 1024**3]
    reporting = asyncio.create_task(keep_reporting(presence, "up", lambda: free[0]))
    try:
        for expected in (7 * 1024**3, 1024**3):
            free[0] = expected
            async with asyncio.timeout(patient(10)):
                while least_free((await presence.changes("disk.*", after=0)).messages) != expected:
                    await asyncio.sleep(0.05)
    finally:
        reporting.cancel()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_the_probe_of_a_server_tells_what_its_disk_has_left(
    tmp_path: Path, encrypted: bool
) -> None:
    accounts = ROOT / "charts" / "postroad" / "files" / "nats-accounts.conf"
    tls = ServerTls(tmp_path)
    trust, more = (tls.trust, tls.config) if encrypted else (None, "")
    async with NatsServer(tmp_path, accounts=accounts, more=more) as server:
        options = as_role("operator", server.url, trust=trust)
        # More than any disk has a fifth of: so whatever is told is too little.
        await provision(options, layout=SINGLE_MACHINE, capacity=10**12)
        spool = await connect(as_role("ingress", server.url, trust=trust))
        try:
            assert spool.accepting
            page = tmp_path / "healthz"  # of a server that is well
            page.write_text("ok")
            address = server.url.removeprefix("nats://").replace("127.0.0.1", "localhost")
            authorities = [str(tls.authorities)] if encrypted else []
            await asyncio.to_thread(_look, page.as_uri(), address, *authorities)
            await until(spool, accepting=False)
        finally:
            await spool.close()


def _look(page: str, address: str, *authorities: str) -> None:
    """Run the probe as the chart does; nothing is free in /proc."""
    probe = ROOT / "services" / "nats" / "alive.py"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "OPERATOR_PASSWORD").write_text(password_of("operator"))
        environment = {"POD_NAME": "nats-0", "WRITTEN_TO": folder}
        subprocess.run(
            [sys.executable, "-IS", probe, page, address, "/proc", *authorities],
            env={**os.environ, **environment},
            check=True,
            timeout=patient(20),
        )
