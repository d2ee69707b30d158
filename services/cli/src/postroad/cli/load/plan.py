"""
What a load sends: number, size, rate, senders and recipients of its messages, and their text.

Every message has a number, and everything else in it follows from the number. So a run can be
repeated. The number is in the header field `X-Number`, so that the receiver can tell which messages
it got.
"""

import bisect
import itertools
import random
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from postroad.cli.handover import Tls
from postroad.units.addresses import SocketAddress

_LINE = b"x" * 70 + b"\r\n"
_SEED = 5321  # sizes are drawn the same way in every run
_DRAWN = 1000  # sizes drawn; after them, they repeat in the same order


@dataclass(frozen=True, slots=True)
class Letter:
    """One message on the wire: its commands up to DATA, and its content with the final dot."""

    commands: tuple[bytes, ...]
    content: bytes


@dataclass(frozen=True)
class LoadPlan:
    """How to load a server. Set `messages` or `seconds`: without both, the load has no end."""

    host: str
    port: int
    messages: int | None = None
    seconds: float | None = None
    first: int = 0  # the first message's number
    sessions: int = 20
    rate: float | None = None  # messages in a second over all sessions; as fast as it goes without
    per_connection: int | None = None  # messages; all of a session's without
    sizes: Sequence[tuple[int, float]] = ((4096, 1.0),)  # octets and their shares
    senders: Sequence[str] = ("from@near.example",)
    domains: Sequence[str] = ("far.example",)
    recipients: int = 1  # of each message, over domains that follow one another
    tls: Tls = Tls.NONE
    context: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    tls_name: str = ""  # the name that the server's certificate must have
    hello: str = "load.example"
    opening: float | None = None  # seconds until any connection is to be ready for a message

    @property
    def server(self) -> SocketAddress:
        """The server's address, as shown to the user."""
        return SocketAddress(self.tls_name or self.host, self.port)

    @property
    def end(self) -> int:
        """The number at which to stop."""
        return 2**62 if self.messages is None else self.first + self.messages


@dataclass
class Letters:
    """Makes the messages of a plan. Bodies are made once; the header differs in each message."""

    plan: LoadPlan
    _bodies: dict[int, bytes] = field(default_factory=dict)
    _sizes: list[int] = field(default_factory=list)
    _run: str = field(default_factory=lambda: f"{time.time_ns():x}")

    def __post_init__(self) -> None:
        sizes = [size for size, _ in self.plan.sizes]
        limits = list(itertools.accumulate(share for _, share in self.plan.sizes))
        draws = random.Random(_SEED)
        for _ in range(_DRAWN if len(sizes) > 1 else 1):
            self._sizes.append(sizes[bisect.bisect(limits, draws.random() * limits[-1])])
        self._date = formatdate(localtime=True)

    def letter(self, number: int) -> Letter:
        """Return the message with this number."""
        plan = self.plan
        sender = plan.senders[number % len(plan.senders)]
        to = self._recipients(number)
        size = self._sizes[number % len(self._sizes)]
        header = (
            f"X-Number: {number}\r\nDate: {self._date}\r\nFrom: <{sender}>\r\nTo: <{to[0]}>\r\n"
            f"Message-ID: <{number}.{self._run}@{plan.hello}>\r\nSubject: Load {number}\r\n\r\n"
        ).encode()
        commands = (
            f"MAIL FROM:<{sender}>\r\n".encode(),
            *(f"RCPT TO:<{each}>\r\n".encode() for each in to),
            b"DATA\r\n",
        )
        return Letter(commands, b"%b%b.\r\n" % (header, self._body(size - len(header))))

    def _recipients(self, number: int) -> list[str]:
        first, domains = number * self.plan.recipients, self.plan.domains
        return [
            f"to{each}@{domains[(first + each) % len(domains)]}"
            for each in range(self.plan.recipients)
        ]

    def _body(self, size: int) -> bytes:
        body = self._bodies.get(size)
        if body is None:
            # At least one letter and CRLF, so that the body ends with a whole line.
            lines, rest = divmod(max(size, 3), len(_LINE))
            body = _LINE * lines + (b"x" * max(rest - 2, 1) + b"\r\n" if rest else b"")
            if len(self._bodies) < _DRAWN:
                self._bodies[size] = body
        return body
