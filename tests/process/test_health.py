"""The HTTP endpoint, asked as Kubernetes and Prometheus ask it."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from postroad.process.errors import StartupError
from postroad.process.health import HealthServer, Readiness, own_page
from postroad.process.sockets import bound_address, listen
from postroad.telemetry.exposition import Format, negotiate
from postroad.units.addresses import ListenAddress

LOOPBACK = ListenAddress("127.0.0.1", 0)


@asynccontextmanager
async def served(listener: socket.socket, readiness: Readiness) -> AsyncIterator[str]:
    server = HealthServer(listener, readiness, own_page, {})
    await server.start()
    try:
        yield f"http://{server.address}"
    finally:
        await server.stop()


async def get(url: str, accept: str = "*/*") -> tuple[int, str, str]:
    headers = {"Accept": accept}
    async with aiohttp.ClientSession(headers=headers) as client, client.get(url) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def test_readiness_names_what_is_missing() -> None:
    readiness = Readiness()
    reason: str | None = "not connected"
    readiness.add("queue", lambda: reason)
    readiness.add("listeners", lambda: None)
    async with served(listen(LOOPBACK), readiness) as url:
        status, _, body = await get(f"{url}/readyz")
        assert status == 503
        assert json.loads(body) == {
            "ready": False,
            "checks": {"queue": "not connected", "listeners": "ok"},
        }
        reason = None
        status, _, body = await get(f"{url}/readyz")
        assert status == 200
        assert json.loads(body)["ready"] is True


async def test_a_process_that_is_not_ready_is_alive() -> None:
    readiness = Readiness()
    readiness.add("queue", lambda: "away")
    async with served(listen(LOOPBACK), readiness) as url:
        status, _, body = await get(f"{url}/healthz")
        assert (status, body) == (200, '{"alive": true}\n')


async def test_metrics_come_in_the_text_format() -> None:
    async with served(listen(LOOPBACK), Readiness()) as url:
        status, kind, body = await get(f"{url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=0.0.4")
    assert "postroad_build_info{" in body


async def test_metrics_come_in_openmetrics_to_whom_asks_for_it() -> None:
    prometheus = (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
        "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,"
        "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    async with served(listen(LOOPBACK), Readiness()) as url:
        status, kind, body = await get(f"{url}/metrics", prometheus)
    assert status == 200
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = text_string_to_metric_families(body)  # type: ignore[no-untyped-call]
    # A counter's name is without its _total there.
    assert "postroad_log_lines_dropped" in {family.name for family in families}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/plain", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; version=1.0.0", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.6", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=nonsense, text/plain;q=0.1", Format.TEXT),
        ("application/openmetrics-text, text/plain", Format.TEXT),
        (";;,,=", Format.TEXT),
    ],
)
def test_the_format_is_what_the_scraper_likes_better(accept: str, expected: Format) -> None:
    assert negotiate(accept) is expected


async def test_an_inherited_socket_serves() -> None:
    parents = listen(LOOPBACK)
    address = ListenAddress(fd=parents.detach())
    async with served(listen(address), Readiness()) as url:
        assert (await get(f"{url}/healthz"))[0] == 200


def test_a_port_in_use_is_one_sentence() -> None:
    with listen(LOOPBACK) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            listen(ListenAddress("127.0.0.1", port))
    assert str(caught.value) == (
        f"cannot listen on 127.0.0.1:{port}: another process listens there; "
        "stop it or choose another port"
    )


def test_an_address_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(StartupError, match="does not have that address"):
        listen(ListenAddress("192.0.2.1", 0))


def test_a_descriptor_that_is_no_listening_socket_is_refused() -> None:
    with socket.socket() as quiet, pytest.raises(StartupError, match="does not listen"):
        listen(ListenAddress(fd=quiet.fileno()))
    with pytest.raises(StartupError, match="fd:999"):
        listen(ListenAddress(fd=999))


def test_processes_share_a_port_when_they_ask_for_it() -> None:
    with listen(LOOPBACK, reuse_port=True) as first:
        port = first.getsockname()[1]
        with listen(ListenAddress("127.0.0.1", port), reuse_port=True) as second:
            assert bound_address(second) == bound_address(first) == f"127.0.0.1:{port}"


def test_the_ipv6_wildcard_takes_ipv4_too() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with listen(ListenAddress("::", 0)) as listener:
        assert bound_address(listener).startswith("[::]:")
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
            pass
