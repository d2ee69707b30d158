"""
OpenTelemetry traces: one from the SMTP transaction through the queue record to each attempt.

Off unless the standard `OTEL_*` variables ask for it (an OTLP endpoint or OTEL_TRACES_EXPORTER, and
not OTEL_SDK_DISABLED), and then it costs one comparison a span: OpenTelemetry is not even imported.
The queue record carries the W3C `traceparent` of the transaction; delivery opens each attempt's
span with it as parent, so that a message's whole life is one trace, over processes and days.

    with tracing.span("smtp.transaction", kind="server") as span:
        if tracing.enabled():
            span.set({"postroad.queue_id": queue_id})
        origin = Origin(traceparent=tracing.current_traceparent())
    ...
    with tracing.span("delivery.attempt", parent=record.origin.traceparent, kind="client"):

Spans leave by OTLP over HTTP, in batches, from a thread of the SDK. When they cannot leave they are
dropped: mail never waits for a trace. Names follow OpenTelemetry's conventions where there are any
(`server.address`, `error.type`), and begin with `postroad.` where there are none.
"""

import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

from postroad.telemetry import logs
from postroad.telemetry.span import OFF, Kind, Span, current_traceparent, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_EXPORT_LIMIT = timedelta(seconds=3)

_log = logs.get_logger(__name__)
_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


def enabled() -> bool:
    """Whether spans are recorded: ask before computing attributes."""
    return _tracer is not None


def span(name: str, *, parent: str | None = None, kind: Kind = "internal") -> Span:
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
    """Whether the standard variables ask for traces to be exported by OTLP."""
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
    Begin to record and export if the environment asks for it.

    What is wrong with the tracing's set-up is logged and leaves tracing off: no reason to take no
    mail. OpenTelemetry reads os.environ itself, so there is no other source here either.
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
        _log.warning("tracing is asked for, but OpenTelemetry is not installed", error=str(error))
    except Exception as error:
        _log.warning("tracing is off: its settings cannot be used", error=str(error))
    else:
        _tracer = _provider.get_tracer("postroad", version("postroad"))
        _log.info("tracing is on")


def stop() -> None:
    """
    Export what is left, for 3 s at most, and record no more. Blocks: use a thread.

    The SDK keeps no time-out of its own: an export to a collector that is silent takes as long as
    it takes. So it is left behind in a thread that does not keep the process from ending.
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
    "Kind",
    "Span",
    "current_traceparent",
    "enabled",
    "span",
    "start",
    "stop",
    "trace_id_of",
]
