"""The ports of `postroad up`: closed at a drain, and served by the processes that can."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.testing.patience import patient
from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.smtp_peer import SmtpPeer
from postroad.testing.processes.relay import RunningRelay
from postroad.testing.streams import hang_up

pytestmark = pytest.mark.nats

StartRelay = Callable[..., Awaitable[RunningRelay]]

MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], smarthosts: [{host: 127.0.0.1, port: 9}]}
"""


async def test_a_relay_that_drains_refuses_new_connections(start_relay: StartRelay) -> None:
    """While it waits for a client that is in the midst of a message."""
    relay = await start_relay(MANIFESTS)
    busy = SmtpPeer(*await asyncio.open_connection("127.0.0.1", relay.port()))
    await busy.reply()
    await busy.envelope("a@near.example", "b@far.example")
    assert (await busy.say("DATA")).startswith("354 ")
    stopping = asyncio.create_task(relay.stop())
    async with asyncio.timeout(patient(10)):
        while await takes_connections(relay.port()):  # with 421, until the port is closed
            await asyncio.sleep(0.05)
    assert not stopping.done()
    await busy.send(b"content\r\n.\r\n")
    assert await stopping == 0
    await hang_up(busy.writer)


async def test_a_process_that_cannot_start_again_keeps_no_connections_from_the_other(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    """
    Its certificate was damaged since. Once that is repaired, both take connections again, on the
    ports that begin with TLS too.

    Some 10 s: two processes start, fail, and start again.
    """
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    texts = tls_pair("relay.test", "Example")
    for path, text in zip((certificate, key), texts, strict=True):
        path.write_text(text)
    pair = {"POSTROAD_TLS_CERT": str(certificate), "POSTROAD_TLS_KEY": str(key)}
    relay = await start_relay(MANIFESTS, "--workers", "ingress=2,delivery=1", **pair)
    for number in range(2):  # the second has all connections, then the first
        key.write_text("damaged\n")
        failures = relay.log.read_text().count("exit code 1")
        relay.kill_child(f"ingress-{number}")
        async with asyncio.timeout(patient(30)):
            while relay.log.read_text().count("exit code 1") == failures:
                await asyncio.sleep(0.05)
            assert [await takes_connections(relay.port()) for _ in range(20)] == [True] * 20
            for _ in range(20):  # in clear: connected is enough, the handshake never comes
                _, writer = await asyncio.open_connection("127.0.0.1", relay.port("submissions"))
                await hang_up(writer)
            key.write_text(texts[1])
            while await asyncio.to_thread(ready, relay.addresses["http"]) != 200:
                await asyncio.sleep(0.1)


def ready(address: str) -> int:
    """Return the status of the readiness page."""
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=patient(10)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def takes_connections(port: int) -> bool:
    """Whether somebody answers a connection to a port."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    with contextlib.suppress(ConnectionError):
        await reader.readline()
    await hang_up(writer)
    return True
