#!/bin/sh
# OpenTelemetry's Python SDK: `force_flush(timeout_millis=1000)` waits ten seconds.
#
# opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http 1.45.2.
# Valid input: one span, a collector that accepts the connection and says nothing, and time-outs of
# one second everywhere the SDK takes one (OTEL_BSP_EXPORT_TIMEOUT, force_flush). Seen: the flush
# returns True after 10 s, the exporter's own OTEL_EXPORTER_OTLP_TIMEOUT. The arguments that promise
# a bound are not used; a process that flushes at its end needs a thread it can leave behind.
#
# Exits 0 while this is so, 1 when the flush keeps its time.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
"$folder/venv/bin/python" - <<'PYTHON'
import os, socket, sys, time

silent = socket.create_server(("127.0.0.1", 0))
os.environ["OTEL_BSP_EXPORT_TIMEOUT"] = "1000"  # milliseconds
endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
provider.get_tracer("finding").start_span("one").end()
begun = time.monotonic()
flushed = provider.force_flush(timeout_millis=1000)
seconds = time.monotonic() - begun
print(f"force_flush(timeout_millis=1000) returned {flushed} after {seconds:.1f} s")
os._exit(0 if seconds > 5 else 1)
PYTHON
