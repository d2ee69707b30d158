"""
A process's connection to the simulated servers, with the part of nats-py's client that spool uses.

Messages arrive in order after a short time, or after a network cut has ended. When the connection
breaks, messages on their way are lost in both directions. The process notices and reconnects.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from postroad.spool.jetstream.nats.client import MessageListener
from postroad.spool.jetstream.nats.connection import API_PREFIX, NatsLink
from postroad.spool.jetstream.nats.incoming import Incoming, header_of
from postroad_harness.simulation.loop import SimulatedProcess
from postroad_harness.simulation.network import Network

_LATENCY = (0.0003, 0.005)  # seconds
_RECONNECT = (0.2, 2.0)  # seconds


class Servers(Protocol):
    """What a connection needs of the servers."""

    up: bool

    def receive(
        self, link: "SimulatedLink", subject: str, data: bytes, reply: str, headers: dict[str, str]
    ) -> None:
        """Take a message."""

    def forget(self, link: "SimulatedLink") -> None:
        """The connection is gone."""


class _Subscription:
    def __init__(self, link: "SimulatedLink", prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    async def unsubscribe(self) -> None:
        """Hear nothing more."""
        self._link.heard_by.pop(self._prefix, None)


class SimulatedLink:
    """The connection and its client in one."""

    max_payload = 2 * 1024 * 1024

    def __init__(
        self, process: SimulatedProcess, network: Network, servers: Servers, dice: random.Random
    ) -> None:
        self.process = process
        self.connected = True
        self.heard_by: dict[str, MessageListener] = {}
        self.written = 0.0  # when the message that the servers are handling was written
        self._network = network
        self._servers = servers
        self._dice = dice
        self._epoch = 0  # of the connection
        self._inboxes = 0
        self._last_there = self._last_back = 0.0
        self._listeners: list[Callable[[], None]] = []

    # ------------------------------------------------------------ as spool sees it

    @property
    def as_link(self) -> NatsLink:
        """This, by the name that spool knows."""
        return cast(NatsLink, self)

    @property
    def client(self) -> "SimulatedLink":
        """The client."""
        return self

    @property
    def api(self) -> str:
        """The prefix of the subjects of JetStream's API."""
        return API_PREFIX

    def new_inbox(self) -> str:
        """Return a name for answers."""
        self._inboxes += 1
        return f"_INBOX.{self.process.name}.{self._inboxes}"

    async def on_client(self, listener: Callable[[], Awaitable[None]]) -> None:
        """Call `listener` now: the client stays the same."""
        await listener()

    def on_reconnect(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each reconnect."""
        self._listeners.append(listener)

    async def listen(self, subject: str, listener: MessageListener) -> _Subscription:
        """Hear what comes to `<prefix>*`."""
        prefix = subject.removesuffix("*")
        self.heard_by[prefix] = listener
        return _Subscription(self, prefix)

    def post(self, subject: str, payload: bytes, *, reply: str = "", header: bytes = b"") -> None:
        """Write a message; OSError without a connection."""
        if not self.connected:
            raise OSError("not connected")
        self._last_there = max(self._last_there, self._when())
        self._network.call_at(
            self._last_there,
            self._arrive,
            self._epoch,
            self._network.time(),
            subject,
            payload,
            reply,
            _fields(header),
            context=self._network.world,
        )

    # ------------------------------------------------------------ octets on their way

    def _when(self) -> float:
        now = self._network.time()
        delay = self._dice.uniform(*_LATENCY)
        return max(now, self._network.cut_until(self.process)) + delay

    def _arrive(
        self,
        epoch: int,
        written: float,
        subject: str,
        data: bytes,
        reply: str,
        headers: dict[str, str],
    ) -> None:
        if epoch == self._epoch and self._servers.up:
            self.written = written
            self._servers.receive(self, subject, data, reply, headers)

    def deliver(
        self, inbox: str, data: bytes, reply: str, headers: dict[str, str], *, subject: str = ""
    ) -> None:
        """Send a message to an inbox of the process; a record keeps the subject of its stream."""
        message = Incoming(subject or inbox, reply, _answer_header(headers), data)
        self._last_back = max(self._last_back, self._when())
        self._network.call_at(
            self._last_back, self._hear, self._epoch, inbox, message, context=self.process.context
        )

    def interested(self, subject: str) -> bool:
        """Whether anybody would hear it."""
        return self.connected and subject.rpartition(".")[0] + "." in self.heard_by

    def _hear(self, epoch: int, inbox: str, message: Incoming) -> None:
        heard = self.heard_by.get(inbox.rpartition(".")[0] + ".")
        if epoch == self._epoch and heard is not None:
            heard(message)

    # ------------------------------------------------------------ faults

    def break_off(self) -> None:
        """Lose the connection and what is under way; it comes back by itself."""
        self._epoch += 1
        self.connected = False
        self._servers.forget(self)
        self._come_back_later()

    def die(self) -> None:
        """Be gone: what was written is still on its way, nothing comes back."""
        self.connected = False

    def _come_back_later(self) -> None:
        pause = self._dice.uniform(*_RECONNECT)
        self._network.call_later(pause, self._come_back, self._epoch, context=self.process.context)

    def _come_back(self, epoch: int) -> None:
        if epoch != self._epoch or self.connected:
            return
        if not self._servers.up or self._network.cut_until(self.process) > self._network.time():
            self._come_back_later()
            return
        self.connected = True
        for listener in self._listeners:
            listener()


def _fields(header: bytes) -> dict[str, str]:
    lines = header.decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


def _answer_header(fields: dict[str, str]) -> bytes:
    """Return a header as the server writes it, its status and description in the first line."""
    if not fields:
        return b""
    rest = {name: said for name, said in fields.items() if name not in ("Status", "Description")}
    words = " ".join(["NATS/1.0", fields.get("Status", ""), fields.get("Description", "")])
    return header_of(rest).replace(b"NATS/1.0", words.strip().encode(), 1)
