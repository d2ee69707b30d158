"""Whether a smarthost greets; what it says is not shown to anybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_network

import pytest

from postroad.operator.probes.dns import addresses_by
from postroad.operator.probes.smarthosts import SmarthostProbe, try_relay
from postroad.operator.status.conditions import Truth
from postroad.policy.model import EgressPath, ObjectKey, Relay, Smarthost
from postroad.policy.walls import DeniedNetworks
from postroad.testing.descriptors import no_descriptors
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Zone
from postroad.units.addresses import SocketAddress

KEY = ObjectKey("shop", "smart")


def relay(*ports: int) -> Relay:
    hosts = tuple(Smarthost("127.0.0.1", port, priority) for priority, port in enumerate(ports))
    return Relay(KEY, ("*",), EgressPath("relay:shop/smart", hosts))


@asynccontextmanager
async def server(greeting: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        heard.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


async def test_one_that_greets_is_reachable_and_is_told_goodbye() -> None:
    async with server(b"220 smart.example ESMTP\r\n") as (port, heard):
        found = await try_relay(relay(port))
        assert (found.status, found.reason) == (Truth.TRUE, "Greeted")
        assert heard == [b"QUIT\r\n"]


@pytest.mark.parametrize("name", ["127.0.0.1", "smart.example"])
async def test_that_the_operator_has_no_descriptors_left_is_not_told_of_the_host(name: str) -> None:
    zone = Zone({"smart.example": ["A 127.0.0.1"]})
    async with server(b"220 hello\r\n") as (port, _), zone:
        way = EgressPath("relay:shop/smart", (Smarthost(name, port),))
        address_of = addresses_by(SocketAddress(*zone.address))
        await address_of("smart.example")  # dnspython loads a part of itself at the first question
        with no_descriptors():
            found = await try_relay(Relay(KEY, ("*",), way), address_of)
        assert (found.status, found.reason) == (Truth.UNKNOWN, "NotTried")
        assert "file descriptors" in found.message


async def test_one_of_several_is_enough() -> None:
    async with server(b"220 hello\r\n") as (port, _):
        assert (await try_relay(relay(1, port))).status is Truth.TRUE


async def test_its_address_comes_from_the_name_server_that_delivery_asks() -> None:
    zone = Zone({"smart.example": ["A 127.0.0.1"]})
    async with server(b"220 hello\r\n") as (port, _), zone:
        address_of = addresses_by(SocketAddress(*zone.address))
        way = EgressPath("relay:shop/smart", (Smarthost("smart.example", port),))
        assert (await try_relay(Relay(KEY, ("*",), way), address_of)).status is Truth.TRUE
        gone = EgressPath("relay:shop/smart", (Smarthost("gone.example", port),))
        found = await try_relay(Relay(KEY, ("*",), gone), address_of)
        assert (found.status, found.reason) == (Truth.FALSE, "ConnectionFailed")
        assert (await try_relay(relay(port), address_of)).status is Truth.TRUE


@pytest.mark.parametrize("greeting", [b"554 go away secret\r\n", b"x" * 5000 + b"\r\n"])
async def test_another_greeting_is_not_repeated(greeting: bytes) -> None:
    async with server(greeting) as (port, _):
        found = await try_relay(relay(port))
        assert (found.status, found.reason) == (Truth.FALSE, "NotGreeted")
        assert "secret" not in found.message
        assert "xxx" not in found.message


async def test_one_that_takes_no_more_connections_for_now_is_reachable() -> None:
    """Delivery may have all the connections that it allows."""
    async with server(b"421 4.3.2 one connection only, secret\r\n") as (port, _):
        found = await try_relay(relay(port))
        assert (found.status, found.reason) == (Truth.TRUE, "Busy")
        assert "for now" in found.message
        assert "secret" not in found.message
        assert (await try_relay(relay(1, port))).reason == "Busy"
        async with server(b"220 hello\r\n") as (other, _):
            assert (await try_relay(relay(port, other))).reason == "Greeted"


@pytest.mark.parametrize("greeting", [b"4\r\n", b"4211 what\r\n", b"42x no\r\n"])
async def test_what_is_no_reply_is_no_greeting(greeting: bytes) -> None:
    async with server(greeting) as (port, _):
        assert (await try_relay(relay(port))).reason == "NotGreeted"


async def test_nobody_at_home() -> None:
    found = await try_relay(relay(1))
    assert (found.status, found.reason) == (Truth.FALSE, "ConnectionRefused")


async def test_another_way_out_is_tried_anew() -> None:
    async with server(b"220 hello\r\n") as (port, _):
        relays = {KEY: relay(1)}
        looks = SmarthostProbe(lambda: relays, lambda: None, pause=timedelta(milliseconds=5))
        running = asyncio.create_task(looks.run())
        async with asyncio.timeout(patient(5)):
            while KEY not in looks.found:
                await asyncio.sleep(0.01)
            assert looks.found[KEY].status is Truth.FALSE
            relays[KEY] = relay(port)
            while KEY not in looks.found or looks.found[KEY].status is not Truth.TRUE:
                await asyncio.sleep(0.01)
        running.cancel()


async def test_silent_hosts_of_one_namespace_delay_no_other() -> None:
    """Twenty Relays with three silent hosts each took ten minutes; then came the next."""
    async with server(b"") as (silent, _), server(b"220 hello\r\n") as (port, _):
        relays = {ObjectKey("a", str(number)): relay(silent, silent) for number in range(20)}
        relays[KEY] = relay(port)
        looks = SmarthostProbe(lambda: relays, lambda: None, pause=timedelta(milliseconds=5))
        running = asyncio.create_task(looks.run())
        async with asyncio.timeout(patient(5)):
            while KEY not in looks.found:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_nothing_is_asked_of_a_host_on_a_denied_network() -> None:
    """Else the status would tell which hosts of the cluster answer."""
    heard = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    walls = DeniedNetworks((ip_network("127.0.0.0/8"),))
    async with server:
        for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # the last leads to the first
            way = EgressPath("relay:x/r", (Smarthost(host, port),))
            found = await try_relay(Relay(KEY, ("*",), way), walls=walls)
            assert (found.status, found.reason) == (Truth.FALSE, "NotAllowed")
    assert not heard.is_set()
