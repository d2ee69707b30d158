"""
An SMTP server that discards mail, or keeps it, and fails for a given share of the messages.

It is the next hop in the demo, in load tests and in fault tests. It is not a mail server: it checks
no addresses. Its sessions are in `sink.session`.
"""

import asyncio
import itertools
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

TAKEN = b"250 2.0.0 ok\r\n"
_MAX_TRIED = 100_000


@dataclass(frozen=True, slots=True)
class SinkBehaviour:
    """How the sink treats mail. Shares are from 0 to 1, drawn at each message's final dot."""

    defer_share: float = 0.0
    reject_share: float = 0.0
    disconnect_share: float = 0.0
    latency: float = 0.0  # seconds before the reply to the final dot
    defer_first: bool = False  # the first try of each message is deferred
    keep: Path | None = None
    keep_last: int = 1000
    tls: ssl.SSLContext | None = None  # a server's context; with it, STARTTLS is offered
    login: tuple[str, str] | None = None  # required user and password; only under TLS if offered


@dataclass
class SinkCounts:
    """What the sink has seen so far."""

    connections: int = 0
    accepted: int = 0
    recipients: int = 0
    deferred: int = 0
    rejected: int = 0
    disconnected: int = 0
    octets: int = 0


@dataclass
class Sink:
    """
    The sink as a whole: its behaviour, its counts, and the mail it keeps.

    `on_taken` is called with the content of each accepted message.
    """

    behaviour: SinkBehaviour = field(default_factory=SinkBehaviour)
    counts: SinkCounts = field(default_factory=SinkCounts)
    on_taken: Callable[[bytearray], None] | None = None
    _kept: deque[Path] = field(default_factory=deque)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _tried: set[int] = field(default_factory=set)
    _open: set[asyncio.Transport] = field(default_factory=set)
    _all_closed: asyncio.Event = field(default_factory=asyncio.Event)

    def opened(self, transport: asyncio.Transport) -> None:
        """Count and remember a connection."""
        self.counts.connections += 1
        self._open.add(transport)

    def closed(self, transport: asyncio.Transport) -> None:
        """Forget a connection."""
        self._open.discard(transport)
        if not self._open:
            self._all_closed.set()

    async def hang_up(self) -> None:
        """End every connection, and wait until the last one is gone."""
        while self._open:
            self._all_closed.clear()
            for transport in self._open:
                transport.abort()
            await self._all_closed.wait()

    def verdict(self, content: bytearray) -> bytes | None:
        """Return the reply to a final dot, None to hang up without one."""
        how, dice = self.behaviour, random.random()
        if how.defer_first and self._is_first_try(content):
            self.counts.deferred += 1
            return b"451 4.3.0 not the first time\r\n"
        if dice < how.disconnect_share:
            self.counts.disconnected += 1
            return None
        if dice < how.disconnect_share + how.defer_share:
            self.counts.deferred += 1
            return b"451 4.3.0 deferred as told\r\n"
        if dice < how.disconnect_share + how.defer_share + how.reject_share:
            self.counts.rejected += 1
            return b"550 5.7.1 rejected as told\r\n"
        return TAKEN

    def _is_first_try(self, content: bytearray) -> bool:
        # The relay's trace field is the same in every try, so the content identifies the message.
        name = hash(bytes(content))
        if name in self._tried:
            self._tried.discard(name)
            return False
        if len(self._tried) < _MAX_TRIED:
            self._tried.add(name)
            return True
        return False

    def take(self, reverse_path: bytes, forward_paths: list[bytes], content: bytearray) -> None:
        """Count an accepted message; if asked to, keep it with its envelope in two fields."""
        self.counts.accepted += 1
        self.counts.recipients += len(forward_paths)
        self.counts.octets += len(content)
        if self.on_taken is not None:
            self.on_taken(content)
        folder = self.behaviour.keep
        if folder is None:
            return
        path = folder / f"{next(self._numbers):06d}.eml"
        envelope = b"X-Envelope-From: %s\r\nX-Envelope-To: %s\r\n" % (
            reverse_path,
            b", ".join(forward_paths),
        )
        path.write_bytes(envelope + content)
        self._kept.append(path)
        if len(self._kept) > self.behaviour.keep_last:
            self._kept.popleft().unlink(missing_ok=True)
