"""
Recorded spans. This is the only module that imports OpenTelemetry.

`tracing` imports it, and only when tracing is on.
"""

import logging
import os
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Self

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from postroad.telemetry.span import AttributeValue, Span, SpanRole, enter, leave

_HEADERS = "opentelemetry.util.re"  # the logger of what reads OTEL_EXPORTER_OTLP_HEADERS
_W3C = TraceContextTextMapPropagator()
_KINDS = {kind.name.lower(): kind for kind in SpanKind}


class RecordedSpan(Span):
    """A span that goes to the collector when it ends."""

    __slots__ = ("_span", "_token", "_traceparent")

    def __init__(self, span: SdkSpan) -> None:
        self._span = span
        self._token: Token[Span] | None = None
        context = span.get_span_context()
        flags = int(context.trace_flags)
        self._traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"

    @property
    def traceparent(self) -> str:
        """The W3C traceparent that continues this span."""
        return self._traceparent

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        """Note that something happened now."""
        self._span.add_event(name, attributes)

    def fail(self, reason: str) -> None:
        """Mark the span as failed."""
        self._span.set_status(Status(StatusCode.ERROR, reason))

    def end(self) -> None:
        """End the span; the SDK would log a warning for a second end."""
        if self._span.is_recording():
            self._span.end()

    def __enter__(self) -> Self:
        self._token = enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            leave(self._token)
            self._token = None
        if error is not None:
            self._span.set_attribute("error.type", type(error).__qualname__)
            self.fail(type(error).__qualname__)
        self.end()


def begin(tracer: Tracer, name: str, parent: str, kind: SpanRole) -> RecordedSpan:
    """Begin a span under the traceparent `parent`, or a new trace when it is "" or malformed."""
    context = _W3C.extract({"traceparent": parent}, Context()) if parent else Context()
    return RecordedSpan(tracer.start_span(name, context, kind=_KINDS[kind]))


def make_provider(resource: Mapping[str, str]) -> TracerProvider:
    """
    Return a provider that exports by OTLP over HTTP; the SDK reads the other OTEL_* itself.

    Raises ValueError when they request another protocol.
    """
    protocol = os.environ.get(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    )
    if protocol not in ("", "http/protobuf"):
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not http/protobuf")
    logging.getLogger(_HEADERS).addFilter(_without_header)
    provider = TracerProvider(resource=Resource.create(dict(resource)), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _without_header(line: logging.LogRecord) -> bool:
    """Remove a malformed header from the log line about it, because it may hold a key."""
    line.msg, line.args = "a header in OTEL_EXPORTER_OTLP_HEADERS is not name=value: left out", ()
    return True
