"""
Logs, metrics and traces of a process. Every other package may use them.

In: events with fields, counts, spans. Out: lines on standard error, pages for Prometheus, spans by
OTLP. It depends on no other package but `mail`, from which it has the escaping of untrusted text.
"""
