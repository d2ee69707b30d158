"""
The next hops of a chaos run: many that accept all mail, and three with faults.

Each is its own site with its own recipients' domain, so that all lanes have mail. The faulty ones
are slow, defer mail, or close the connection without an answer to the final dot. None of them keeps
a message without a 250, so a message that arrives twice was really sent twice.
"""

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.cli.sink.session import SinkProtocol
from postroad_harness.flow import number_of

_PLAIN = 8
_RETRY = "{first: 1s, factor: 1.5, max: 5s, lifetime: 1h, delayWarning: 30m}"
_CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: chaos}
spec: {networks: ["127.0.0.0/8"], senders: ["*"]}
"""
_RELAY = """\
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: {name}}}
spec:
  destinations: ["{name}.far.example"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
  retry: {retry}
"""


@dataclass
class Hops:
    """All next hops; `async with` opens and closes their ports."""

    arrivals: dict[int, list[float]] = field(default_factory=dict)  # by number, monotonic times
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _sinks: dict[str, Sink] = field(default_factory=dict)
    _servers: dict[str, asyncio.Server] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._sinks = {f"plain{number}": Sink() for number in range(_PLAIN)}
        self._sinks["slow"] = Sink(SinkBehaviour(latency=0.3))
        self._sinks["deferring"] = Sink(SinkBehaviour(defer_share=0.3))
        self._sinks["disconnecting"] = Sink(SinkBehaviour(disconnect_share=0.2))
        for sink in self._sinks.values():
            sink.on_taken = self._note

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for name, sink in self._sinks.items():
            self._servers[name] = await loop.create_server(
                partial(SinkProtocol, sink), "127.0.0.1", 0
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for name, server in self._servers.items():
            server.close()
            await self._sinks[name].hang_up()

    def _note(self, content: bytearray) -> None:
        number = number_of(content)
        if number is not None:
            self.arrivals.setdefault(number, []).append(time.monotonic())
            self.changed.set()

    @property
    def domains(self) -> list[str]:
        """The recipients' domains, one for each hop."""
        return [f"{name}.far.example" for name in self._sinks]

    def is_plain(self, number: int) -> bool:
        """Return whether a message goes to a hop that accepts all mail at once."""
        return number % len(self._sinks) < _PLAIN

    def manifests(self) -> str:
        """Return a relay's configuration that sends each domain to its hop."""
        relays = [
            _RELAY.format(name=name, port=server.sockets[0].getsockname()[1], retry=_RETRY)
            for name, server in self._servers.items()
        ]
        return _CLIENT + "".join(relays)

    def recover(self) -> None:
        """Let every hop accept all mail from now on."""
        for sink in self._sinks.values():
            sink.behaviour = SinkBehaviour()

    def counts(self) -> dict[str, int]:
        """Return the counts of the faulty hops."""
        return {
            "deferred": sum(sink.counts.deferred for sink in self._sinks.values()),
            "disconnected": sum(sink.counts.disconnected for sink in self._sinks.values()),
        }
