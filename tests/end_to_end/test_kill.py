"""
Killing processes under load: every message answered 250 arrives.

These are short versions of `make chaos`. Each test counts messages accepted, delivered, lost,
duplicated and left in doubt, and prints the account.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from postroad.cli.sink.server import Sink
from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay
from postroad_harness.source import Deliveries, Source

pytestmark = [pytest.mark.nats, pytest.mark.faults, pytest.mark.timeout(120)]

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
  retry: {{first: 1s, factor: 1.5, max: 5s, lifetime: 1h, delayWarning: 30m}}
"""
MESSAGES = 600
TAKE_UP = 45.0  # seconds: the promise is 30 from the kill, and some mail is still being sent

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]


@pytest.fixture
async def scene(start_relay: StartRelay, sink_port: OpenSink) -> Any:
    """A relay of two processes of each kind, and a sink that counts."""
    sink, port = await sink_port()
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(MANIFESTS.format(port=port), "--workers", "ingress=2,delivery=2")
    return relay, deliveries


async def run_and_kill(relay: RunningRelay, deliveries: Deliveries, *names: str) -> Source:
    source = Source(relay.port())
    sending = asyncio.create_task(source.send(MESSAGES))
    for name in names:
        while sum(deliveries.counts.values()) < MESSAGES // 6 and not sending.done():
            deliveries.changed.clear()
            await asyncio.wait_for(deliveries.changed.wait(), patient(30))
        relay.kill_child(name)
    await sending
    await deliveries.wait_for(source.account, seconds=TAKE_UP)
    return source


def report(what: str, source: Source, deliveries: Deliveries) -> None:
    account = source.account
    print(
        f"\n{what}: accepted {len(account.accepted)}, delivered {len(deliveries.counts)},"
        f" lost {len(deliveries.missing(account))}, duplicated {len(deliveries.duplicated())},"
        f" refused {len(account.refused)}, ambiguous {len(account.doubtful)}"
    )


@pytest.mark.parametrize("name", ["ingress-0", "delivery-0", "nats-server"])
async def test_every_accepted_message_arrives_though_a_process_is_killed(
    scene: tuple[RunningRelay, Deliveries], name: str
) -> None:
    relay, deliveries = scene
    source = await run_and_kill(relay, deliveries, name)
    report(f"SIGKILL of {name}", source, deliveries)
    assert not deliveries.missing(source.account)
    assert len(source.account.accepted) > MESSAGES // 2
    # It is back: mail goes through all processes again.
    again = Source(relay.port())
    await again.send(20)
    assert len(again.account.accepted) == 20


async def test_nothing_is_lost_when_up_itself_is_killed(
    scene: tuple[RunningRelay, Deliveries],
) -> None:
    relay, deliveries = scene
    source = Source(relay.port())
    sending = asyncio.create_task(source.send(MESSAGES))
    await asyncio.wait_for(deliveries.changed.wait(), patient(30))
    server = relay.children()["nats-server"]
    await relay.kill()
    await relay.start()
    await sending
    assert relay.children()["nats-server"] != server
    await deliveries.wait_for(source.account, seconds=TAKE_UP)
    report("SIGKILL of up", source, deliveries)
    assert not deliveries.missing(source.account)


async def test_mail_for_many_is_not_begun_anew_when_delivery_is_killed(
    start_relay: StartRelay, sink_port: OpenSink, tmp_path: Path
) -> None:
    """Half a minute: what a killed process had in hand comes again when its lease has run out."""
    kept, took = tmp_path / "kept", asyncio.Semaphore(0)
    kept.mkdir()
    # A hundred in a transaction, each of which takes longer than an attempt may before it settles.
    sink, port = await sink_port(latency=1.5, keep=kept)
    sink.on_taken = lambda _: took.release()
    relay = await start_relay(MANIFESTS.format(port=port))
    many = tuple(f"to{number}@far.example" for number in range(400))
    source = Source(relay.port(), recipients=many)
    await source.send(1, sessions=1)
    async with asyncio.timeout(patient(15)):
        for _ in range(3):
            await took.acquire()
    relay.kill_child("delivery-0")
    got: Counter[str] = Counter()
    async with asyncio.timeout(patient(TAKE_UP)):
        while len(got) < len(many):
            await took.acquire()
            got = recipients(kept)
    again = [address for address, times in got.items() if times > 1]
    print(f"\nSIGKILL among many: {len(again)} of {len(many)} twice")
    assert got.keys() == set(many)
    assert len(again) <= 100, "one transaction"


def recipients(kept: Path) -> Counter[str]:
    """Return how often a sink has taken mail for each address."""
    got: Counter[str] = Counter()
    for path in kept.glob("*.eml"):
        line = path.read_text().split("\n")[1]
        got.update(line.removeprefix("X-Envelope-To: ").split(", "))
    return got
