"""`postroad load` on the command line: what it shows, and which servers it refuses to load."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.cli.errors import CommandError
from postroad.cli.handover import Tls, tls_context
from postroad.cli.load.figures import Latencies
from postroad.cli.load.plan import LoadPlan
from postroad.cli.load.run import LoadRun
from postroad.cli.load.target import check_domains, permitted_address
from postroad.testing.patience import patient
from postroad.testing.processes.ingress import MANIFESTS, start_ingress
from postroad.units.addresses import SocketAddress
from postroad_harness.setups.load import OpenHop, run


async def test_a_certificate_nobody_vouches_for_ends_the_load(tmp_path: Path) -> None:
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        await scene.configure(MANIFESTS, tmp_path)
        plan = LoadPlan(
            *("127.0.0.1", scene.ports[ListenerKind.SUBMISSION]),
            messages=4,
            tls=Tls.STARTTLS,
            context=ssl.create_default_context(),
        )
        running = LoadRun(plan)
        assert (await running.run()).accepted == 0
        assert "certificate" in running.why_nothing()
    finally:
        await scene.end()


async def test_the_command_tells_figures_as_json(open_hop: OpenHop) -> None:
    hop = await open_hop()
    code, out, err = await run("--server", f"127.0.0.1:{hop.port}", "--messages", "50", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["accepted"], said["rejected"]) == (50, 0)
    assert said["latency_p50"] <= said["latency_p99"] <= said["latency_max"]


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:4860:4860::8888", "0.0.0.0"])
def test_a_stranger_is_loaded_only_with_permission(host: str) -> None:
    with pytest.raises(CommandError, match="--permitted"):
        permitted_address(SocketAddress(host, 25), permitted=False)
    assert permitted_address(SocketAddress(host, 25), permitted=True) == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.1.2.3", "localhost", "::ffff:127.0.0.1"])
def test_this_machine_and_private_networks_are_no_strangers(host: str) -> None:
    assert permitted_address(SocketAddress(host, 25), permitted=False)


@pytest.mark.parametrize("domain", ["gmail.com", "notexample", "example.com.gmail.com"])
def test_mail_that_could_reach_people_needs_permission(domain: str) -> None:
    with pytest.raises(CommandError, match="--permitted"):
        check_domains([domain], permitted=False)
    check_domains([domain], permitted=True)
    check_domains(["far.example", "example", "a.b.test", "example.com"], permitted=False)


@pytest.mark.parametrize("flags", [("--size", "many"), ("--size", "1KiB:0"), ("--for", "soon")])
async def test_a_wrong_flag_is_one_sentence_and_exit_code_2(flags: tuple[str, str]) -> None:
    code, _, err = await run(*flags)
    assert code == 2
    assert flags[0] in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "tls", "says"),
    [
        (ListenerKind.SUBMISSIONS, Tls.NONE, "is this a TLS port? try --tls implicit"),
        (ListenerKind.SUBMISSIONS, Tls.STARTTLS, "is this a TLS port? try --tls implicit"),
        (ListenerKind.RELAY, Tls.IMPLICIT, "it answers in clear; try --tls starttls"),
    ],
)
async def test_a_tls_that_does_not_go_with_the_port_ends_the_load(
    tmp_path: Path, kind: ListenerKind, tls: Tls, says: str
) -> None:
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        plan = LoadPlan(
            *("127.0.0.1", scene.ports[kind]),
            messages=4,
            tls=tls,
            context=tls_context(True, None),
            opening=0.2,
        )
        running = LoadRun(plan)
        async with asyncio.timeout(patient(10)):
            figures = await running.run()
        assert figures.accepted == 0
        assert says in running.why_nothing()
    finally:
        await scene.end()


async def test_a_server_that_greets_and_closes_is_given_up() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        running = LoadRun(LoadPlan("127.0.0.1", port, messages=4, opening=0.2))
        async with asyncio.timeout(patient(10)):
            await running.run()
    assert "greets, but no connection came as far as a message" in running.why_nothing()


async def test_a_server_that_is_never_there_is_given_up() -> None:
    running = LoadRun(LoadPlan("127.0.0.1", 1, messages=4, opening=0.2))
    async with asyncio.timeout(patient(10)):
        await running.run()
    assert running.why_nothing() == "no connection could be opened"


async def test_what_was_not_accepted_has_a_reason_and_no_latencies(tmp_path: Path) -> None:
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        await scene.configure(MANIFESTS, tmp_path)
        server = ("--server", f"127.0.0.1:{scene.ports[ListenerKind.RELAY]}", "--messages", "3")
        code, out, err = await run(*server, "--from", "a@other.example")
        assert code == 1
        assert "rejected 3" in out
        assert "from the final dot" not in out
        assert "550 5.7.1 relay access denied" in err
        _, out, _ = await run(*server, "--from", "a@other.example", "--json")
        assert json.loads(out)["latency_p50"] is None
        code, out, _ = await run(*server, "--from", "me@near.example")
        assert code == 0
        assert "p99" in out
    finally:
        await scene.end()


async def test_some_refusals_among_much_are_shown_with_the_figures(open_hop: OpenHop) -> None:
    hop = await open_hop(reject_share=0.5)
    _, out, _ = await run("--server", f"127.0.0.1:{hop.port}", "--messages", "50")
    assert out.splitlines()[-1] == "first refusal: 550 5.7.1 rejected as told"


async def test_nobody_there_is_one_sentence_and_exit_code_1() -> None:
    code, _, err = await run("--server", "127.0.0.1:1", "--for", "200ms")
    assert code == 1
    assert "127.0.0.1:1" in err


def test_percentiles_are_right_to_one_in_a_hundred() -> None:
    latencies = Latencies()
    for number in range(1, 1001):
        latencies.add(number / 1000)
    for share in (0.5, 0.9, 0.99):
        assert abs(latencies.percentile(share) / share - 1) < 0.015
    assert latencies.percentile(1.0) <= latencies.longest == 1.0
    assert Latencies().percentile(0.5) == 0.0
