"""What a peer sees when the queue is down or full; and that the relay recovers by itself."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay
from postroad.testing.streams import hang_up
from postroad_harness.setups.spool.volumes import fill, volume
from postroad_harness.source import Deliveries, Source

pytestmark = [pytest.mark.nats, pytest.mark.faults, pytest.mark.timeout(180)]

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]

MANIFESTS = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: tests}}
spec: {{networks: ["127.0.0.0/8"], senders: ["*"]}}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: out}}
spec:
  destinations: ["*"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
  retry: {{first: 2s, factor: 1.5, max: 5s, lifetime: 1h, delayWarning: 30m}}
"""
TO_TWO_DOMAINS = [
    b"EHLO source.example",
    b"MAIL FROM:<from@near.example>",
    b"RCPT TO:<to@far.example>",
    b"RCPT TO:<to@further.example>",
    b"DATA",
    b"X-Number: 900000\r\n\r\nhello\r\n.",
]


@contextlib.asynccontextmanager
async def dialog(port: int) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    """Open a session, past the greeting; give a function that says a line and returns the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def reply() -> bytes:
        while True:
            line = await reader.readline()
            if line[3:4] != b"-":
                return line

    async def say(line: bytes) -> bytes:
        writer.write(line + b"\r\n")
        return await reply()

    try:
        await reply()
        yield say
    finally:
        await hang_up(writer)


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MB."""
    with volume(tmp_path / "volume", 96) as mounted:
        yield mounted


async def test_with_the_queue_away_mail_is_deferred_and_later_taken(
    start_relay: StartRelay, sink_port: OpenSink
) -> None:
    sink, port = await sink_port()
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(MANIFESTS.format(port=port), POSTROAD_LIMIT_STORE="3s")
    server = relay.children()["nats-server"]
    async with dialog(relay.port()) as say:
        os.kill(server, signal.SIGSTOP)
        replies = [await say(line) for line in TO_TWO_DOMAINS]
        assert replies[-1].startswith(b"451 4.3.0 "), replies
        os.kill(server, signal.SIGCONT)
        assert (await say(b"NOOP")).startswith(b"250 ")
    again = Source(relay.port())
    async with asyncio.timeout(patient(30)):
        while not again.account.accepted:
            await again.send(1)
    await deliveries.wait_for(again.account, seconds=30)
    assert deliveries.counts[900000] in (0, 2)  # for both domains, or for none


async def test_a_full_store_is_told_and_drains_by_itself(
    start_relay: StartRelay, sink_port: OpenSink, small_volume: Path
) -> None:
    sink, port = await sink_port(defer_share=1.0)
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(MANIFESTS.format(port=port), state=small_volume)
    source = Source(relay.port(), size=500_000)
    for _ in range(40):
        await source.send(10, sessions=2)
        if source.account.refused:
            break
    assert len(source.account.accepted) > 50
    async with dialog(relay.port()) as say:
        replies = [await say(line) for line in TO_TWO_DOMAINS]
    assert any(reply.startswith(b"452 4.3.1 ") for reply in replies), replies
    sink.behaviour = SinkBehaviour()
    await deliveries.wait_for(source.account, seconds=60)
    again = Source(relay.port())
    async with asyncio.timeout(patient(20)):
        while not again.account.accepted:
            await again.send(1)


async def test_deferrals_do_not_fill_the_disk(
    start_relay: StartRelay, sink_port: OpenSink, small_volume: Path
) -> None:
    # What is acknowledged stays on the disk for a minute or two, uncounted, and each deferral
    # writes a body once more: the disk is full when half of it is counted. Half a minute, since the
    # first retry may come only when the disk is full: each clears away a little.
    sink, port = await sink_port(defer_share=1.0)
    manifests = MANIFESTS.format(port=port).replace(
        "2s, factor: 1.5, max: 5s", "25s, factor: 1, max: 25s"
    )
    relay = await start_relay(manifests, state=small_volume)
    server = relay.children()["nats-server"]
    loading = ("load", "--server", relay.addresses["relay"], "--size", "100KiB", "--json")
    code, said, _ = await relay.command(*loading, "--rate", "60", "--for", "15s")
    assert code == 0
    load = json.loads(said)
    assert load["first_refusal"].startswith("452 4.3.1 "), load
    assert shutil.disk_usage(small_volume).free > 4_000_000
    sink.behaviour = SinkBehaviour()
    async with asyncio.timeout(patient(90)):
        while sink.counts.accepted < load["accepted"]:
            await asyncio.sleep(0.2)
    assert relay.children()["nats-server"] == server
    again = Source(relay.port())
    async with asyncio.timeout(patient(60)):
        while not again.account.accepted:
            await again.send(1)


async def test_a_file_system_really_full_is_recovered_from(
    start_relay: StartRelay, sink_port: OpenSink, small_volume: Path
) -> None:
    sink, port = await sink_port()
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(
        MANIFESTS.format(port=port), state=small_volume, POSTROAD_LIMIT_STORE="3s"
    )
    before = Source(relay.port(), size=20_000)
    await before.send(20)
    ballast = fill(small_volume)
    during = Source(relay.port(), size=20_000)
    await during.send(9, sessions=3)
    assert during.account.refused
    ballast.unlink()
    after = Source(relay.port(), size=20_000)
    async with asyncio.timeout(patient(60)):
        while not after.account.accepted:
            await after.send(1)
    for source in (before, during, after):
        await deliveries.wait_for(source.account, seconds=60)


@pytest.mark.parametrize("killed", [False, True], ids=["cannot write", "killed"])
async def test_nats_server_is_started_again_only_when_the_disk_has_room(
    start_relay: StartRelay, sink_port: OpenSink, small_volume: Path, *, killed: bool
) -> None:
    sink, port = await sink_port()
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(
        MANIFESTS.format(port=port), state=small_volume, POSTROAD_LIMIT_STORE="3s"
    )
    before = relay.children()["nats-server"]
    source = Source(relay.port(), size=20_000)
    await source.send(20)
    ballast = fill(small_volume)
    if killed:
        relay.kill_child("nats-server")
    async with asyncio.timeout(patient(60)):
        while "nats-server waits for room on its disk" not in relay.log.read_text():
            await source.send(1)  # what cannot be written
            await asyncio.sleep(0.1)
    assert relay.children().get("nats-server") == (None if killed else before)
    ballast.unlink()
    async with asyncio.timeout(patient(60)):
        while relay.children().get("nats-server") in (None, before):
            await asyncio.sleep(0.1)
        taken = len(source.account.accepted)
        while len(source.account.accepted) == taken:
            await source.send(1)
    await deliveries.wait_for(source.account, seconds=60)
    assert relay.log.read_text().count("waits for room") == 1
    assert relay.log.read_text().count("nats-server ended and is started again") == 1


async def test_a_relay_is_not_started_on_a_disk_without_room(
    start_relay: StartRelay, small_volume: Path
) -> None:
    relay = await start_relay(MANIFESTS.format(port=1), state=small_volume)
    assert await relay.stop() == 0
    with fill(small_volume).open("r+b") as ballast:  # the first files still have room
        ballast.truncate(ballast.seek(0, os.SEEK_END) - 500_000)
    with pytest.raises(AssertionError, match="no ready line"):
        await relay.start()
    assert "make room on the volume of" in relay.log.read_text()
