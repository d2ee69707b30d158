"""
The network between processes and next hops: connections carry octets in order, late or never.

Each end of a connection is an asyncio transport over the simulated loop. These faults are possible:
a cut link delivers nothing until it is restored, as with TCP; a reset ends both sides; an address
refuses connections, or never answers.
"""

import asyncio
import contextvars
import random
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, cast

from postroad_harness.simulation.loop import SimulatedLoop, SimulatedProcess

Factory = Callable[[], asyncio.BaseProtocol]
Owner = SimulatedProcess | None

_LATENCY = (0.0005, 0.02)  # seconds
_AFTER_CUT = 0.2  # seconds until what was lost in a cut is sent again


class Reachable(Enum):
    """What a connect to an address meets."""

    YES = auto()
    REFUSES = auto()
    SILENT = auto()


class End(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, network: "Network", owner: Owner, context: contextvars.Context) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000)})
        self.owner = owner
        self.protocol: asyncio.Protocol | None = None
        self.other: End | None = None
        self._network = network
        self.context = context
        self._closing = False
        self._gone = False
        self.arrives = 0.0  # when the last octets under way to here arrive

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives to another protocol."""
        self.protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets."""
        if not self._closing and data:
            self._send(End.receive, bytes(data))

    def _send(self, what: Callable[..., None], *args: object) -> None:
        other = self.other
        assert other is not None
        loop = self._network.loop
        delay = self._network.dice.uniform(*_LATENCY)
        healed = max(self._network.cut_until(self.owner), self._network.cut_until(other.owner))
        when = loop.time() + delay
        if healed > loop.time():
            when = healed + _AFTER_CUT + delay
        other.arrives = max(other.arrives, when)
        loop.call_at(other.arrives, what, other, *args, context=other.context)

    def receive(self, data: bytes) -> None:
        """Take octets that arrived."""
        if not self._gone and not self._closing and self.protocol is not None:
            self.protocol.data_received(data)

    def receive_end(self) -> None:
        """The other end will send nothing more."""
        if self._gone or self._closing or self.protocol is None:
            return
        if not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is gone."""
        if not self._gone and self.protocol is not None:
            self._gone = self._closing = True
            self.protocol.connection_lost(error)

    def close(self) -> None:
        """Close; what was written still goes out."""
        if not self._closing:
            self._closing = True
            self._send(End.receive_end)
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        """Close at once."""
        if not self._gone:
            self._closing = True
            self._send(End.lose, ConnectionResetError("connection reset by peer"))
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def is_closing(self) -> bool:
        """Whether it is closed or closing."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Return 0: nobody is that slow here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def pause_reading(self) -> None:
        """Nothing is large enough here."""

    def resume_reading(self) -> None:
        """Nothing is large enough here."""


class Listener:
    """What a process listens on."""

    def __init__(self, network: "Network", address: tuple[str, int], factory: Factory) -> None:
        self._network = network
        self._address = address
        self.factory = factory
        self.owner: Owner = network.owner()
        self.context = contextvars.copy_context()

    def close(self) -> None:
        """Refuse from now on."""
        if self._network.listeners.get(self._address) is self:
            del self._network.listeners[self._address]


class Network(SimulatedLoop):
    """The loop, with the network it is part of: asyncio asks its loop for connections."""

    def __init__(self, *, most_steps: int, dice: random.Random) -> None:
        super().__init__(most_steps=most_steps)
        self.loop = self
        self.dice = dice
        self.world = contextvars.copy_context()  # whose steps are nobody's
        self.listeners: dict[tuple[str, int], Listener] = {}
        self.reachable: Callable[[tuple[str, int]], Reachable] = lambda _: Reachable.YES
        self._cuts: dict[str, float] = {}
        self._ends: dict[str, list[End]] = {}

    def owner(self) -> Owner:
        """Return the process whose step this is."""
        return SimulatedProcess.current()

    def cut(self, process: SimulatedProcess, seconds: float) -> None:
        """Let nothing from or to a process through for a while."""
        self._cuts[process.name] = max(self.cut_until(process), self.time() + seconds)

    def cut_until(self, process: Owner) -> float:
        """Return when a process's link is whole again."""
        return self._cuts.get(process.name, 0.0) if process is not None else 0.0

    def reset_all(self, process: SimulatedProcess) -> None:
        """End all of a dead process's connections, as its kernel does."""
        for end in self._ends.pop(process.name, []):
            end.abort()
        for listener in list(self.listeners.values()):
            if listener.owner is process:
                listener.close()

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Factory, host: str, port: int, *, local_addr: Any = None
    ) -> tuple[End, asyncio.BaseProtocol]:
        """Connect; ConnectionRefusedError, or nothing at all."""
        owner = self.owner()
        await asyncio.sleep(self.dice.uniform(*_LATENCY))
        healed = self.cut_until(owner)
        if healed > self.time():
            await asyncio.sleep(healed + _AFTER_CUT - self.time())
        met = self.reachable((host, port))
        listener = self.listeners.get((host, port))
        if met is Reachable.SILENT:
            await self.create_future()
        if met is Reachable.REFUSES or listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        near = End(self, owner, contextvars.copy_context())
        far = End(self, listener.owner, listener.context)
        near.other, far.other = far, near
        far.protocol = _streaming(listener.factory())
        near.protocol = _streaming(protocol_factory())
        for end in (near, far):
            if end.owner is not None:
                self._ends.setdefault(end.owner.name, []).append(end)
        self.call_soon(far.protocol.connection_made, far, context=far.context)
        near.protocol.connection_made(near)
        return near, near.protocol

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Factory, *, sock: Any, **_: object
    ) -> Listener:
        """Listen at `sock`, which is an address here."""
        listener = Listener(self, sock, protocol_factory)
        self.listeners[sock] = listener
        return listener


def _streaming(protocol: asyncio.BaseProtocol) -> asyncio.Protocol:
    assert isinstance(protocol, asyncio.Protocol)
    return protocol
