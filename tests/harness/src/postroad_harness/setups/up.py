"""Manifests and a look at pages, for tests of `postroad up`."""

import urllib.request
from collections.abc import Awaitable, Callable

from postroad.cli.sink.server import Sink
from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay

StartRelay = Callable[..., Awaitable[RunningRelay]]
OpenSink = Callable[..., Awaitable[tuple[Sink, int]]]

CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: tests}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
"""
RELAY = """\
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: out}}
spec:
  destinations: ["*"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
"""


def get(address: str, page: str) -> tuple[int, str]:
    """Fetch a page of the HTTP endpoint."""
    with urllib.request.urlopen(f"http://{address}{page}", timeout=patient(10)) as answer:
        return answer.status, answer.read().decode()
