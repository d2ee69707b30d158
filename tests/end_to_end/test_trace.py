"""One message is one trace, over all its processes; the trace id is in their log lines."""

import json
from collections.abc import Awaitable, Callable, Iterator

import pytest

from postroad.cli.sink.server import Sink
from postroad.testing.peers.collector import Collector
from postroad.testing.processes.relay import RunningRelay
from postroad_harness.source import Deliveries, Source

pytestmark = pytest.mark.nats

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
  retry: {{first: 1s, max: 2s, lifetime: 1h, delayWarning: 30m}}
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


async def test_a_message_is_one_trace_from_the_dot_to_its_last_attempt(
    start_relay: StartRelay, sink_port: OpenSink, collector: Collector
) -> None:
    sink, port = await sink_port(defer_first=True)
    deliveries = Deliveries()
    sink.on_taken = deliveries.note
    relay = await start_relay(
        MANIFESTS.format(port=port),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    source = Source(relay.port())
    await deliveries.wait_for(await source.send(1), seconds=20)
    assert await relay.stop() == 0  # what is not exported yet is
    transaction = collector.named("smtp.transaction")
    attempts = [span for span in collector.spans if span.name == "delivery.attempt"]
    assert len(attempts) == 2
    for attempt in attempts:
        assert attempt.trace_id == transaction.trace_id
        assert attempt.parent_span_id == transaction.span_id
    assert collector.services == {"postroad-ingress", "postroad-delivery"}
    lines = [json.loads(line) for line in relay.log.read_text().splitlines() if line[:1] == "{"]
    ends = ("deferred", "delivered")
    traced = [line.get("trace_id") for line in lines if line["event"] in ends]
    assert traced == [transaction.trace_id.hex()] * 2
