"""TLS handshakes on all three paths: counted alike, and the peer hears why one fails."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics
from postroad.ingress.listen import server
from postroad.testing.patience import patient
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene, start_ingress

LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
PATHS = ["implicit", "starttls", "proxied"]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


async def until_tls(scene: Scene, path: str) -> SmtpPeer:
    """Open a connection on which a handshake is due."""
    kind = ListenerKind.SUBMISSION if path == "starttls" else ListenerKind.SUBMISSIONS
    ports = scene.proxy_ports if path == "proxied" else scene.ports
    peer = SmtpPeer(*await asyncio.open_connection("127.0.0.1", ports[kind]))
    scene.peers.append(peer)
    if path == "proxied":
        peer.writer.write(LOCAL)
    if path == "starttls":
        await peer.reply()
        await peer.say("EHLO a")
        assert (await peer.say("STARTTLS")).startswith("220 ")
    return peer


def counted() -> dict[str, int]:
    return {
        outcome: int(metrics.TLS_HANDSHAKES.labels(outcome).value)
        for outcome in ("succeeded", "failed", "abandoned")
    }


async def until_counted(before: dict[str, int], outcome: str) -> None:
    async with asyncio.timeout(patient(10)):
        while counted() == before:
            await asyncio.sleep(0.01)
    assert counted() == before | {outcome: before[outcome] + 1}


def only_old() -> ssl.SSLContext:
    """A client that knows no TLS later than 1.1."""
    context = client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def only_rare() -> ssl.SSLContext:
    """A client that wants to be known by a key of a kind that the server has not."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE-RSA-AES128-SHA")
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("path", PATHS)
def test_the_client_reads_why_a_handshake_failed(
    path: str,
    loop: Callable[[], asyncio.AbstractEventLoop],
    tmp_path: Path,
    certificate_folder: Path,
) -> None:
    async def run() -> None:
        scene = await start_ingress(tls=certificate_folder)
        await scene.configure(MANIFESTS, tmp_path)
        for context, alert in ((only_old(), "PROTOCOL_VERSION"), (only_rare(), "HANDSHAKE_FAIL")):
            before = counted()
            peer = await until_tls(scene, path)
            with pytest.raises(ssl.SSLError, match=alert):
                await peer.start_tls(context)
            await until_counted(before, "failed")
        await scene.end()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("path", PATHS)
async def test_handshakes_are_counted_on_every_path(scene: Scene, path: str) -> None:
    before = counted()
    peer = await until_tls(scene, path)
    await peer.start_tls(client_context())
    await until_counted(before, "succeeded")


@pytest.mark.parametrize("path", PATHS)
async def test_a_probe_that_closes_before_the_handshake_is_no_news(scene: Scene, path: str) -> None:
    before = counted()
    peer = await until_tls(scene, path)
    with capture_logs() as lines:
        peer.writer.close()
        await until_counted(before, "abandoned")
    assert lines == []


async def test_a_drain_says_nothing_in_clear_where_tls_is_due(scene: Scene) -> None:
    """RFC 3207 §4: after 220 to STARTTLS there is TLS, or nothing."""
    peer = await until_tls(scene, "starttls")
    async with asyncio.timeout(patient(5)):
        await scene.server.drain(seconds=30)
        assert await peer.reader.read() == b""


async def test_handshakes_that_never_come_have_their_place(open_scene: OpenScene) -> None:
    scene = await open_scene(connections_per_address=5)
    for _ in range(5):
        await until_tls(scene, "implicit")
    async with asyncio.timeout(patient(5)):
        while len(scene.server.connections) < 5:
            await asyncio.sleep(0.01)
    assert (await (await scene.connect()).reply()).startswith("421 4.7.0 ")
    sixth = await until_tls(scene, "implicit")
    assert await sixth.reader.read() == b""


@pytest.mark.parametrize("path", PATHS)
async def test_while_places_are_scarce_handshakes_have_less_time(
    open_scene: OpenScene, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Three of four places are in use; else the first would have its 30 s."""
    monkeypatch.setattr(server, "SCARCE_TIMEOUT", 0.5)
    scene = await open_scene(connections=4)
    first, *_ = [await until_tls(scene, path) for _ in range(3)]
    async with asyncio.timeout(patient(10)):
        assert await first.reader.read() == b""
