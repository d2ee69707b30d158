"""
OpenTelemetry traces: one trace a message, from the SMTP transaction to each delivery attempt.

Tracing is off unless the standard `OTEL_*` variables turn it on (an OTLP endpoint or
OTEL_TRACES_EXPORTER, and not OTEL_SDK_DISABLED). While it is off, a span costs one comparison, and
OpenTelemetry is not imported. The queue record has the W3C `traceparent` of the transaction.
Delivery uses it as the parent of each attempt's span, so a message is one trace over all processes
and days.

    with tracing.span("smtp.transaction", kind="server") as span:
        if tracing.enabled():
            span.set({"postroad.queue_id": queue_id})
        origin = Origin(traceparent=tracing.current_traceparent())
    ...
    with tracing.span("delivery.attempt", parent=record.origin.traceparent, kind="client"):

A thread of the SDK exports spans in batches, by OTLP over HTTP. Spans that cannot be exported are
dropped, because mail never waits for a trace. Names follow OpenTelemetry's conventions if there are
any (`server.address`, `error.type`), and otherwise begin with `postroad.`.
"""

import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

from postroad.telemetry import logs
from postroad.telemetry.span import OFF, Span, SpanRole, current_traceparent, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_EXPORT_LIMIT = timedelta(seconds=3)

_log = logs.get_logger(__name__)
_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def enabled() -> bool:
    """Whether spans are recorded; check it before you compute attributes."""
    return _tracer is not None


def span(name: str, *, parent: str | None = None, kind: SpanRole = "internal") -> Span:
    """
    Begin a span.

    `parent` is a traceparent to continue from; "" begins a new trace, None continues the current
    span. A malformed parent begins a new trace.
    """
    if _tracer is None:
        return OFF
    from postroad.telemetry.otel import begin

    return begin(_tracer, name, current_traceparent() if parent is None else parent, kind)


def asked_for(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables turn on the export of traces by OTLP."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return "otlp" in exporter.split(",")
    return bool(
        environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    )


def start(role: str, process: str) -> None:
    """
    Begin to record and export if the environment turns tracing on.

    An error in the set-up is logged and leaves tracing off; it does not stop the process. The
    settings come from os.environ, because OpenTelemetry reads it itself.
    """
    global _provider, _tracer
    if not asked_for(os.environ):
        return
    try:
        from postroad.telemetry.otel import make_provider

        _provider = make_provider(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or f"postroad-{role}",
                "service.namespace": "postroad",
                "service.version": version("postroad"),
                "service.instance.id": process,
            }
        )
    except ImportError as error:
        _log.warning("tracing is off: OpenTelemetry is not installed", error=str(error))
    except Exception as error:
        _log.warning("tracing is off: its settings cannot be used", error=str(error))
    else:
        _tracer = _provider.get_tracer("postroad", version("postroad"))
        _log.info("tracing is on")


def stop() -> None:
    """
    Stop recording, and export the remaining spans for 3 s at most. Blocks: use a thread.

    The SDK has no timeout for this: an export to a silent collector may never end. So it runs in a
    daemon thread, which does not keep the process alive.
    """
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        exporting = threading.Thread(target=provider.shutdown, name="last traces", daemon=True)
        exporting.start()
        exporting.join(_EXPORT_LIMIT.total_seconds())
        if exporting.is_alive():
            _log.warning("the last traces were not exported in time")


__all__ = [
    "Span",
    "SpanRole",
    "current_traceparent",
    "enabled",
    "span",
    "start",
    "stop",
    "trace_id_of",
]
