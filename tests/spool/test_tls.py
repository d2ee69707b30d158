"""Connections to NATS with TLS: what a process trusts, and certificates that change."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postroad.operator.jetstream.storage import read_storage
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.connection import Access, NatsLink
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.telemetry.metrics import exposition
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import first, put, take
from postroad.testing.queue.server_tls import ServerTls

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"
_END = "postroad_operator_nats_certificate_end_seconds"
GREETING = b'INFO {"server_id":"X","version":"2.11.0","headers":true,"auth_required":true}\r\n'


@pytest.fixture
def tls(tmp_path: Path) -> ServerTls:
    return ServerTls(tmp_path)


@pytest.fixture
async def server(tmp_path: Path, tls: ServerTls) -> AsyncIterator[NatsServer]:
    async with NatsServer(tmp_path, accounts=ACCOUNTS, more=tls.config) as running:
        await provision(options(running, tls, "operator"), layout=SINGLE_MACHINE, capacity=10**9)
        yield running


def options(server: NatsServer, tls: ServerTls, role: str) -> SpoolOptions:
    return as_role(role, server.url, trust=tls.trust)


async def refusal(url: str, tls: ServerTls) -> str:
    """Return why a process does not connect."""
    link = NatsLink(Access((url,), token="a secret token", trust=tls.trust))
    with pytest.raises(SpoolUnavailable) as caught:
        await link.open(timeout=timedelta(seconds=patient(1)))
    await link.close()
    return str(caught.value)


async def test_mail_goes_through_the_queue_while_the_certificate_is_renewed(
    server: NatsServer, tls: ServerTls
) -> None:
    """No connection is lost, and who connects later believes the new authority."""
    ingress = await connect(options(server, tls, "ingress"))
    delivery = await connect(options(server, tls, "delivery"))
    await put(ingress, "before@y.example")
    tls.renew("second", ends_in=timedelta(days=3))
    server.reload()
    await _until_shown(server, tls, timedelta(days=2))
    await put(ingress, "after@y.example")
    consumer = take(delivery)
    for leased in await first(consumer, 2):
        await consumer.settle(leased)
    await consumer.close()
    await server.restart()  # all of them connect again, with what is in the file now
    operator = await connect(options(server, tls, "operator"))
    async with asyncio.timeout(patient(20)):
        while not (ingress.accepting and delivery.accepting):
            await asyncio.sleep(0.05)
    for spool in (ingress, delivery, operator):
        await spool.close()


async def _until_shown(server: NatsServer, tls: ServerTls, least: timedelta) -> None:
    """Wait until the operator's gauge has the end of a certificate that lives at least so long."""
    async with asyncio.timeout(patient(10)):
        while True:
            await read_storage(options(server, tls, "operator"), capacity=0)
            (shown,) = re.findall(rf"^{_END} (\S+)$", exposition(), re.MULTILINE)
            if float(shown) > (datetime.now(UTC) + least).timestamp():
                return
            await asyncio.sleep(0.05)


async def test_a_server_that_begins_in_clear_is_told_nothing(tls: ServerTls) -> None:
    """Whoever is between could otherwise say that the server has no TLS, and hear the password."""
    told: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        told.append(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert await refusal(f"nats://127.0.0.1:{port}", tls)
    assert told
    assert not any(b"CONNECT" in each or b"token" in each for each in told)


async def test_a_server_of_another_authority_is_told_nothing(
    server: NatsServer, tls: ServerTls
) -> None:
    served = tls.authorities.with_name("tls.crt").read_text()
    tls.renew("another")  # and the server goes on with the first
    assert tls.authorities.read_text() != served
    assert "certificate verify failed" in await refusal(server.url, tls)


async def test_an_expired_certificate_is_named(server: NatsServer, tls: ServerTls) -> None:
    tls.renew("expired", ends_in=timedelta(hours=-1))
    server.reload()
    async with asyncio.timeout(patient(20)):
        while "certificate has expired" not in await refusal(server.url, tls):
            await asyncio.sleep(0.05)


async def test_a_file_of_authorities_that_is_missing_is_named(
    server: NatsServer, tls: ServerTls
) -> None:
    tls.authorities.unlink()
    assert "No such file" in await refusal(server.url, tls)


async def test_a_wrong_password_is_named(server: NatsServer, tls: ServerTls) -> None:
    access = replace(options(server, tls, "ingress").access(), password="another")
    link = NatsLink(access)
    with pytest.raises(SpoolUnavailable, match="Authorization Violation"):
        await link.open(timeout=timedelta(seconds=patient(1)))
    await link.close()


async def test_a_client_in_clear_is_not_served(server: NatsServer) -> None:
    link = NatsLink(Access((server.url,), user="ingress", password="any"))
    with pytest.raises(SpoolUnavailable):
        await link.open(timeout=timedelta(seconds=patient(1)))
    await link.close()
