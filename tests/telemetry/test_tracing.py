"""Traces: one from the SMTP transaction through the record to each attempt, or none."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from postroad.telemetry import tracing
from postroad.testing.peers.collector import Collector


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "EXPORTER_OTLP_ENDPOINT", "SERVICE_NAME"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    return monkeypatch


@pytest.fixture
def collector(environ: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    environ.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    tracing.stop()
    collector.close()


def test_one_trace_goes_from_the_transaction_to_each_attempt(collector: Collector) -> None:
    tracing.start("ingress", "ingress-0")
    with tracing.span("smtp.transaction", kind="server") as transaction:
        with tracing.span("queue.publish", kind="producer"):
            stored = tracing.current_traceparent()
        transaction.set({"postroad.queue_id": "Q1", "postroad.size": 10})
    tracing.stop()
    assert tracing.current_traceparent() == ""

    # Another process, hours later: all it has is what the record carries.
    tracing.start("delivery", "delivery-0")
    with tracing.span("delivery.attempt", parent=stored, kind="client") as attempt:
        attempt.fail("Deferred")
    tracing.stop()

    assert collector.services == {"postroad-ingress", "postroad-delivery"}
    root = collector.named("smtp.transaction")
    assert {span.trace_id for span in collector.spans} == {root.trace_id}
    assert root.parent_span_id == b""
    assert collector.named("queue.publish").parent_span_id == root.span_id
    attempt_span = collector.named("delivery.attempt")
    assert attempt_span.parent_span_id == collector.named("queue.publish").span_id
    assert attempt_span.status.message == "Deferred"
    assert attempt_span.kind == Span.SPAN_KIND_CLIENT
    assert {each.key for each in root.attributes} == {"postroad.queue_id", "postroad.size"}


def test_a_malformed_parent_begins_a_trace(collector: Collector) -> None:
    tracing.start("delivery", "delivery-0")
    with tracing.span("delivery.attempt", parent="00-nonsense\r\n"):
        pass
    tracing.stop()
    assert collector.named("delivery.attempt").parent_span_id == b""


def test_an_exception_marks_its_span(collector: Collector) -> None:
    tracing.start("delivery", "delivery-0")
    with pytest.raises(OSError, match="gone"), tracing.span("delivery.attempt"):
        raise OSError("gone")
    tracing.stop()
    span = collector.named("delivery.attempt")
    assert {each.key: each.value.string_value for each in span.attributes} == {
        "error.type": "OSError"
    }
    assert span.status.message == "OSError"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_the_standard_variables_decide(variables: dict[str, str], expected: bool) -> None:
    assert tracing.asked_for(variables) is expected


@pytest.mark.usefixtures("environ")
def test_off_means_one_shared_span_that_does_nothing() -> None:
    tracing.start("ingress", "ingress-0")
    assert not tracing.enabled()
    with tracing.span("smtp.transaction") as span:
        span.set({"postroad.queue_id": "Q"})
        span.event("queued")
        span.fail("x")
        span.end()
        assert span is tracing.span("another")
        assert tracing.current_traceparent() == "" == span.traceparent


def test_a_protocol_we_do_not_speak_leaves_tracing_off(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("OTEL_TRACES_EXPORTER", "otlp")
    environ.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    tracing.start("ingress", "ingress-0")
    assert not tracing.enabled()


def test_a_header_that_is_malformed_is_told_without_its_key(
    environ: pytest.MonkeyPatch, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    environ.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    environ.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization hush-7711")
    tracing.start("ingress", "ingress-0")
    assert "OTEL_EXPORTER_OTLP_HEADERS is not name=value" in caplog.text
    assert "hush" not in caplog.text
