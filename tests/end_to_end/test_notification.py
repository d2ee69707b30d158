"""The largest possible notification, from refusals at RCPT to the sender's host."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.relay import RunningRelay
from postroad_harness.source import Source

pytestmark = pytest.mark.nats

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
"""
MANY = 1000  # recipients, the most that a message has
LONG = "почтовый ящик получателя не найден в каталоге организации, обратитесь к администратору " * 5
REFUSAL = f"550-5.1.1 {LONG}\r\n550 5.1.1 {LONG}\r\n".encode()  # 1.6 kB

StartRelay = Callable[..., Awaitable[RunningRelay]]


async def test_a_thousand_long_refusals_are_one_notification_and_nothing_is_left(
    start_relay: StartRelay,
) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return REFUSAL if line.startswith(b"RCPT") and b"@far.example" in line else None

    async with ScriptedMx(script) as mx:
        relay = await start_relay(MANIFESTS.format(port=mx.port))
        source = Source(
            relay.port(), recipients=tuple(f"to{number}@far.example" for number in range(MANY))
        )
        await source.send(1, sessions=1)
        [report] = await asyncio.wait_for(mx.received(1), patient(20))
        assert report.recipients == [b"RCPT TO:<from@near.example>"]
        assert report.content.count(b"Final-Recipient: ") == MANY
        assert len(report.content) < 1_000_000
        async with asyncio.timeout(patient(10)):
            while (await relay.command("queue", "list"))[1] != "The queue is empty.\n":
                pass
        assert len(mx.messages) == 1
