"""
The next hops: SMTP servers that accept mail, refuse it, are slow, fall silent or hang up.

What a host does with a message is drawn when the message comes. The hosts note which messages they
accepted, and whether the relay can have received that answer. The relay is judged against this.
"""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import cast

from postroad.smtp.server.conversation import ServerConversation
from postroad.smtp.server.events import CommandLine, ContentPiece
from postroad_harness.simulation.ledger import Ledger, Received
from postroad_harness.simulation.loop import SimulatedLoop
from postroad_harness.simulation.network import End, Reachable

_ADDRESS = re.compile(rb"<([^>]*)>")
_TOKEN = re.compile(rb"^X-Token: (\S+)\r$", re.MULTILINE)
_REPORTED = re.compile(rb"^Final-Recipient: rfc822; (\S+)\r$", re.MULTILINE)
_ACTION = re.compile(rb"^Action: (\S+)\r$", re.MULTILINE)


class Whim(Enum):
    """What a host does at the final dot of a message."""

    TAKES = auto()
    DEFERS = auto()
    REFUSES = auto()
    HANGS_UP_BEFORE = auto()  # without taking it
    HANGS_UP_AFTER = auto()  # having taken it
    FALLS_SILENT = auto()  # having taken it
    CLOSES = auto()  # without taking it, and says so: 421


@dataclass(slots=True)
class Temper:
    """A host's behaviour. `bad` is the share of messages to which it does one of its `whims`."""

    bad: float = 0.0
    whims: tuple[Whim, ...] = (Whim.DEFERS,)
    rcpt_bad: float = 0.0
    slow: float = 0.0  # seconds, at most, before it answers a final dot
    slow_from: float = 0.0  # and at least
    unreachable: float = 0.0  # share of connects
    bears: int | None = None  # most sessions at a time; a further one is greeted with 421
    mute: float = 0.0  # share of connections on which it never sends anything
    pipelining: bool = True
    takes_at_once: int = 0  # recipients of a message, as it announces; 0 for any number
    always_refuses: frozenset[str] = frozenset()  # recipients


@dataclass(slots=True)
class Host:
    """A next hop: its address, its behaviour, and whether it behaves well from now on."""

    name: str
    address: str
    site: str
    temper: Temper
    ledger: Ledger
    dice: random.Random
    loop: SimulatedLoop
    calm: bool = False
    sessions: int = 0  # open now

    @property
    def bears_another(self) -> bool:
        """Whether one more session is not too many."""
        return self.calm or self.temper.bears is None or self.sessions < self.temper.bears

    def chance(self, share: float) -> bool:
        """Draw whether something with this share happens now."""
        return not self.calm and self.dice.random() < share

    def whim(self) -> Whim:
        """Draw what becomes of a message."""
        return self.dice.choice(self.temper.whims) if self.chance(self.temper.bad) else Whim.TAKES

    def met(self) -> Reachable:
        """Draw what a connect meets."""
        if not self.chance(self.temper.unreachable):
            return Reachable.YES
        return self.dice.choice([Reachable.REFUSES, Reachable.SILENT])


class HostSession(asyncio.Protocol):
    """The server's side of one connection to a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._end: End | None = None
        self._conversation = ServerConversation[list[str]]()
        self._envelope: list[str] = [""]  # the sender and the recipients that were taken
        self._began = 0.0
        self._content = bytearray()
        self._busy_until = 0.0
        self._judging = False  # what comes meanwhile waits
        self._heard_at = 0.0
        self._silent = False
        self._counts = False  # as one of the sessions that the host bears

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._end = cast(End, transport)
        if self._host.temper.mute and self._host.chance(self._host.temper.mute):
            self._silent = True
        elif self._host.bears_another:
            self._counts = True
            self._host.sessions += 1
            self._say("220 ready")
        else:
            self._say("421 4.7.0 too many sessions")
            self._hang_up()

    def data_received(self, data: bytes) -> None:
        """Take octets."""
        self._conversation.receive(data)
        self._heard_at = self._host.loop.time()
        self._proceed()

    def _proceed(self) -> None:
        while not (self._silent or self._judging):
            match self._conversation.next_event():
                case None:
                    return
                case ContentPiece(octets, last):
                    self._content += octets
                    if last:
                        self._content_ends()
                case CommandLine() as said:
                    self._obey(said)

    def connection_lost(self, error: Exception | None) -> None:
        """The relay is gone."""
        self._silent = True
        self._host.sessions -= self._counts
        self._counts = False
        self._host.ledger.ended(self)

    @property
    def caller(self) -> str:
        """The process at the other end."""
        other = self._end.other if self._end is not None else None
        return other.owner.name if other is not None and other.owner is not None else ""

    # ------------------------------------------------------------ the dialog

    def _say(self, reply: str, delay: float = 0.0) -> None:
        self._conversation.answered(int(reply[:3]))
        loop = self._host.loop
        self._busy_until = max(self._busy_until, loop.time() + delay)
        if self._busy_until <= loop.time():
            self._write(reply)
        else:
            loop.call_at(self._busy_until, self._write, reply)

    def _write(self, reply: str) -> None:
        if self._end is not None and not self._silent:
            self._end.write(reply.encode() + b"\r\n")

    def _obey(self, said: CommandLine) -> None:
        answers: dict[str, Callable[[CommandLine], None]] = {
            "EHLO": self._ehlo,
            "MAIL": self._begin,
            "RCPT": self._recipient,
        }
        if said.refusal is not None:
            if said.verb == "DATA":
                self._host.ledger.ended(self)
            self._say(str(said.refusal))
        elif said.verb in answers:
            answers[said.verb](said)
        elif said.verb == "DATA":
            self._content.clear()
            self._say("354 go on")
        elif said.verb == "QUIT":
            self._say("221 bye")
            self._hang_up()
        else:
            self._host.ledger.ended(self)  # RSET
            self._say("250 fine")

    def _ehlo(self, _: CommandLine) -> None:
        temper = self._host.temper
        offers = ["PIPELINING"] if temper.pipelining else []
        offers += [f"LIMITS RCPTMAX={temper.takes_at_once}"] if temper.takes_at_once else []
        lines = "".join(f"250-{line}\r\n" for line in (self._host.name, *offers, "8BITMIME"))
        self._say(f"{lines}250 SIZE 1000000")

    def _begin(self, said: CommandLine) -> None:
        host = self._host
        self._envelope = [_address(said.line)]
        self._conversation.begin(self._envelope)
        # With the dot of a message that took its time, it was begun when it came.
        self._began = self._heard_at
        host.ledger.began(self, host.site, self.caller, self._began)
        self._say("250 2.1.0 fine")

    def _recipient(self, said: CommandLine) -> None:
        recipient = _address(said.line)
        host = self._host
        if recipient in host.temper.always_refuses:
            host.ledger.unknown.add(recipient)
            self._say("550 5.1.1 nobody of that name")
        elif host.chance(host.temper.rcpt_bad):
            self._say("451 4.2.1 not now")
        else:
            self._envelope.append(recipient)
            self._say("250 2.1.5 fine")

    def _content_ends(self) -> None:
        host = self._host
        if host.calm or host.temper.slow == 0.0:
            self._judge()
        else:
            self._judging = True
            host.loop.call_later(
                host.dice.uniform(host.temper.slow_from, host.temper.slow), self._judge_late
            )

    def _judge_late(self) -> None:
        self._judging = False
        self._judge()
        self._proceed()

    def _judge(self) -> None:
        if self._silent:
            return  # the connection went before the message was taken
        whim = self._host.whim()
        told = whim is Whim.TAKES
        if whim in (Whim.TAKES, Whim.HANGS_UP_AFTER, Whim.FALLS_SILENT):
            self._note(told=told)
        if whim in (Whim.HANGS_UP_AFTER, Whim.HANGS_UP_BEFORE):
            self._hang_up()
        elif whim is Whim.FALLS_SILENT:
            self._silent = True
        elif whim is Whim.CLOSES:
            self._say("421 4.3.2 closing")
            self._hang_up()
        elif whim is Whim.REFUSES:
            self._host.ledger.refused(self._received(told=True), self._host.loop.time())
            self._say("554 5.7.1 not this")
        else:
            self._say("250 2.0.0 taken" if told else "451 4.3.0 later")
        self._host.ledger.ended(self)

    def _note(self, *, told: bool) -> None:
        self._host.ledger.took(self._received(told=told), self._host.loop.time())

    def _received(self, *, told: bool) -> Received:
        content = bytes(self._content)
        sender, *recipients = self._envelope
        token = _TOKEN.search(content)
        action = _ACTION.search(content)
        return Received(
            token=token[1].decode() if token else "",
            sender=sender,
            recipients=tuple(recipients),
            caller=self.caller,
            began=self._began,
            told=told,
            report=action[1].decode() if action and not sender else "",
            reported=tuple(address.decode() for address in _REPORTED.findall(content)),
        )

    def _hang_up(self) -> None:
        self._silent = True
        if self._end is not None:
            self._end.close()


def _address(line: bytes) -> str:
    match = _ADDRESS.search(line)
    return match[1].decode() if match else ""
