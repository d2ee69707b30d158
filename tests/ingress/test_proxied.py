"""Ports behind a load balancer: the session is with the client that the header names."""

import asyncio
import ipaddress
import socket
import struct
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from postroad.acceptance.admission import ListenerKind
from postroad.ingress import metrics
from postroad.ingress.listen import proxied
from postroad.ingress.settings import IngressSettings
from postroad.process.errors import SettingsError
from postroad.process.settings import load
from postroad.testing.peers.smtp_peer import SmtpPeer, client_context
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene, start_ingress

FAR = "198.51.100.7"
MANIFESTS_FOR_FAR = MANIFESTS.replace("127.0.0.1/32", f"{FAR}/32")


def v1(client: str = FAR) -> bytes:
    return f"PROXY TCP4 {client} 192.0.2.25 40000 25\r\n".encode()


def v2(client: str = FAR) -> bytes:
    """Return a header with a TLV behind its addresses, as balancers send it."""
    address = ipaddress.ip_address(client)
    other = ipaddress.ip_address("192.0.2.25" if address.version == 4 else "2001:db8::25")
    body = address.packed + other.packed + struct.pack("!HH", 40000, 25)
    body += b"\x02\x00\x0arelay.test"
    family = 0x11 if address.version == 4 else 0x21
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


async def connect(scene: Scene, header: bytes, kind: ListenerKind = ListenerKind.RELAY) -> SmtpPeer:
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.proxy_ports[kind])
    peer = SmtpPeer(reader, writer)
    scene.peers.append(peer)
    writer.write(header)
    return peer


def refused(reason: str) -> float:
    return metrics.PROXY_REFUSED.labels(reason).value


@pytest.mark.parametrize("header", [v1(), v2()])
async def test_the_clients_address_decides_and_stands_in_the_trace_field(
    open_scene: OpenScene, header: bytes
) -> None:
    scene = await open_scene(MANIFESTS_FOR_FAR)
    peer = await connect(scene, header + b"EHLO client.example\r\n")
    assert (await peer.reply()).startswith("220 ")
    assert (await peer.reply()).startswith("250-")
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("250 ")
    [record] = scene.records
    assert f"[{FAR}]".encode() in record.trace
    assert record.origin.peer == FAR


async def test_the_balancers_own_address_opens_nothing(open_scene: OpenScene) -> None:
    """Loopback may relay in these manifests, and is where the balancer is."""
    scene = await open_scene()
    peer = await connect(scene, v1())
    await peer.reply()
    replies = await peer.envelope("me@near.example", "you@far.example")
    assert replies[-1].startswith("550 5.7.1 ")


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_header_that_names_nobody_leaves_the_peer_as_it_is(
    scene: Scene, header: bytes
) -> None:
    peer = await connect(scene, header)
    assert (await peer.reply()).startswith("220 ")
    assert all(
        reply.startswith("250 ")
        for reply in await peer.envelope("me@near.example", "you@far.example")
    )


async def test_an_ipv6_client_behind_an_ipv4_balancer(open_scene: OpenScene) -> None:
    manifests = MANIFESTS.replace("127.0.0.1/32", "2001:db8:7::/48")
    scene = await open_scene(manifests)
    peer = await connect(scene, v2("2001:db8:7::1"))
    await peer.reply()
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("250 ")
    assert b"[IPv6:2001:db8:7::1]" in scene.records[0].trace


@pytest.mark.parametrize("network", [f"{FAR}/32", f"::ffff:{FAR}/128"])
async def test_an_ipv4_client_that_a_balancer_names_by_ipv6_is_one_of_ipv4(
    open_scene: OpenScene, network: str
) -> None:
    scene = await open_scene(
        MANIFESTS.replace("127.0.0.1/32", f"'{network}'"), connections_per_network=1
    )
    for client in ("198.51.100.1", "198.51.100.2"):
        peer = await connect(scene, v2(f"::ffff:{client}"))
        assert (await peer.reply()).startswith("220 ")
    peer = await connect(scene, f"PROXY TCP6 ::ffff:{FAR} ::1 40000 25\r\n".encode())
    await peer.reply()
    await peer.envelope("me@near.example", "you@far.example")
    assert (await peer.message()).startswith("250 ")
    assert f"([{FAR}])".encode() in scene.records[0].trace


async def test_connections_are_limited_for_each_client_not_for_the_balancer(
    open_scene: OpenScene,
) -> None:
    scene = await open_scene(connections_per_address=1)
    assert (await (await connect(scene, v1("198.51.100.1"))).reply()).startswith("220 ")
    assert (await (await connect(scene, v1("198.51.100.2"))).reply()).startswith("220 ")
    assert (await (await connect(scene, v1("198.51.100.1"))).reply()).startswith("421 4.7.0 ")


async def test_a_header_may_come_octet_by_octet(scene: Scene) -> None:
    peer = await connect(scene, b"")
    peer.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in v2():
        peer.writer.write(bytes([octet]))
        await peer.writer.drain()
        await asyncio.sleep(0)
    assert (await peer.reply()).startswith("220 ")


async def test_starttls_after_a_header(scene: Scene) -> None:
    peer = await connect(scene, v1(), ListenerKind.SUBMISSION)
    await peer.reply()
    await peer.say("EHLO client.example")
    assert (await peer.say("STARTTLS")).startswith("220 ")
    await peer.start_tls(client_context())
    assert "AUTH" in await peer.say("EHLO client.example")


def under_tls(port: int, header: bytes) -> bytes:
    """Say the header and the first octets of a handshake in one segment; return the greeting."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        plain.send(header, socket.MSG_MORE)
        with client_context().wrap_socket(plain) as tls:
            return tls.recv(1024)


@pytest.mark.parametrize("header", [v1(), v2()])
async def test_the_header_precedes_tls_on_the_submissions_port(scene: Scene, header: bytes) -> None:
    port = scene.proxy_ports[ListenerKind.SUBMISSIONS]
    greeting = await asyncio.to_thread(under_tls, port, header)
    assert greeting.startswith(b"220 ")


def test_it_is_the_same_on_the_loop_of_production(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def run() -> None:
        scene = await start_ingress(tls=tmp_path_factory.mktemp("tls"))
        await scene.configure(MANIFESTS_FOR_FAR, tmp_path)
        port = scene.proxy_ports[ListenerKind.SUBMISSIONS]
        assert (await asyncio.to_thread(under_tls, port, v2())).startswith(b"220 ")
        peer = await connect(scene, v1()[:9])
        await asyncio.sleep(0.05)
        peer.writer.write(v1()[9:])
        await peer.reply()
        await peer.envelope("me@near.example", "you@far.example")
        assert (await peer.message()).startswith("250 ")
        await scene.end()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


# ---------------------------------------------------------------- who is cut off


async def test_a_peer_that_is_not_trusted_is_cut_off(open_scene: OpenScene) -> None:
    scene = await open_scene(trusted=[ipaddress.ip_network("192.0.2.0/24")])
    before = refused("untrusted")
    with capture_logs() as lines:
        peer = await connect(scene, v1())
        assert await peer.all_replies(b"") == []
    assert refused("untrusted") == before + 1
    [told] = [line for line in lines if line["event"] == "a proxied connection is refused"]
    assert (told["peer"], told["reason"]) == ("127.0.0.1", "untrusted")


@pytest.mark.parametrize(
    "octets", [b"EHLO client.example\r\n", b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01\0\x05hello"]
)
@pytest.mark.parametrize("kind", [ListenerKind.RELAY, ListenerKind.SUBMISSIONS])
async def test_what_is_no_header_is_cut_off_without_a_reply(
    scene: Scene, kind: ListenerKind, octets: bytes
) -> None:
    before = refused("malformed")
    peer = await connect(scene, b"", kind)
    assert await peer.all_replies(octets) == []
    assert refused("malformed") == before + 1


async def test_a_header_that_does_not_come_in_time_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "HEADER_TIMEOUT", 0.1)
    before = refused("incomplete")
    peer = await connect(scene, v1()[:-2])
    assert await peer.reply() == ""
    assert refused("incomplete") == before + 1


async def test_a_failure_before_the_session_is_told_and_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told when the task's memory was reclaimed, if ever."""

    def fail(*_: object) -> None:
        raise ValueError("nobody planned this")

    monkeypatch.setattr(scene.server, "name", fail)
    before = metrics.INTERNAL_ERRORS.value
    with capture_logs() as lines:
        peer = await connect(scene, v1())
        assert await peer.reply() == "", "it is closed"
    assert [line["event"] for line in lines] == ["a connection failed"]
    assert metrics.INTERNAL_ERRORS.value == before + 1


async def test_a_balancer_that_only_looks_whether_the_port_is_open_is_no_news(
    scene: Scene,
) -> None:
    with capture_logs() as lines:
        peer = await connect(scene, b"")
        assert await peer.all_replies(b"") == []
    assert lines == []


async def test_a_second_header_is_no_command(scene: Scene) -> None:
    peer = await connect(scene, v1() + v1("127.0.0.1"))
    assert (await peer.reply()).startswith("220 ")
    assert (await peer.reply()).startswith("421 4.7.0 ")


async def test_a_drain_closes_these_ports_too(scene: Scene) -> None:
    waiting = await connect(scene, b"PROXY ")
    open_session = await connect(scene, v1())
    await open_session.reply()
    await scene.server.drain(seconds=5)
    assert (await open_session.reply()).startswith("421 4.3.2 ")
    assert await waiting.reply() == ""
    with pytest.raises(ConnectionRefusedError):
        await connect(scene, v1())


# ---------------------------------------------------------------- settings

PORT = {"POSTROAD_LISTEN_SUBMISSIONS_PROXY": "127.0.0.1:3465"}


def test_trusted_networks_are_read() -> None:
    settings = load(
        IngressSettings,
        PORT | {"POSTROAD_PROXY_TRUSTED": "::ffff:10.0.0.0/104, 192.0.2.1,2001:db8::/32"},
    )
    assert settings.proxy.trusted is not None
    assert list(map(str, settings.proxy.trusted)) == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]


@pytest.mark.parametrize("environ", [{}, {"POSTROAD_PROXY_TRUSTED": " "}])
def test_without_trusted_networks_no_proxy_port_is_opened(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="POSTROAD_PROXY_TRUSTED"):
        load(IngressSettings, PORT | environ)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "load-balancer", "10.0.0.0/33"])
def test_a_network_that_is_none_is_a_mistake(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a network such as"):
        load(IngressSettings, PORT | {"POSTROAD_PROXY_TRUSTED": text})
