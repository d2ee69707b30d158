"""
What a process says of itself: logs, metrics, traces. Every part may use it, the queue's too.

In: events with fields, counts, spans. Out: lines on standard error, pages for Prometheus, spans by
OTLP. It knows no part, and nothing of mail but how to show a peer's text.
"""
