"""A server to talk to: whom and how, how long to wait for it, and what can go wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from postroad.mail.valueclass import valueclass
from postroad.policy.model import Credentials, TlsMode
from postroad.smtp.client import Phase
from postroad.smtp.reply import Reply
from postroad.smtp_client.dispositions import Answer, Protection, answer_of


@dataclass(frozen=True)
class Timeouts:
    """How long each phase may take, RFC 5321 §4.5.3.2 where it says."""

    connect: timedelta = timedelta(seconds=30)
    greeting: timedelta = timedelta(minutes=5)
    command: timedelta = timedelta(minutes=5)
    data: timedelta = timedelta(minutes=2)
    block: timedelta = timedelta(minutes=3)
    final_dot: timedelta = timedelta(minutes=10)
    farewell: timedelta = timedelta(seconds=5)
    ahead: timedelta = timedelta(seconds=5)  # an envelope that went ahead: our own wager
    hurry: timedelta = timedelta(seconds=30)  # where others need the place

    def of(self, phase: Phase) -> float:
        """Return a phase's timeout in seconds."""
        return self._seconds[phase]

    @cached_property
    def hurried(self) -> "Timeouts":
        """
        The times of a host that does not move while others need its places.

        All are shorter but the one after the final dot: who takes long then gets the mail twice.
        """
        shortest = {
            name: min(getattr(self, name), self.hurry)
            for name in ("connect", "greeting", "command", "data", "block")
        }
        return replace(self, **shortest)

    @cached_property
    def of_hurry(self) -> float:
        """The seconds that every phase has, whoever needs the place."""
        return self.hurry.total_seconds()

    @cached_property
    def of_ahead(self) -> float:
        """How long the first answer to an envelope that went ahead may take, in seconds."""
        return self.ahead.total_seconds()

    @cached_property
    def _seconds(self) -> Mapping[Phase, float]:
        named = {
            Phase.CONNECT: self.connect,
            Phase.GREETING: self.greeting,
            Phase.DATA: self.data,
            Phase.CONTENT: self.block,
            Phase.FINAL_DOT: self.final_dot,
            Phase.RSET: self.farewell,
            Phase.QUIT: self.farewell,
        }
        return {phase: named.get(phase, self.command).total_seconds() for phase in Phase}


class SessionError(Exception):
    """A session cannot be had, or is over."""


class SessionRefused(SessionError):
    """The server does not want this session: its greeting, EHLO, STARTTLS or AUTH said so."""

    def __init__(self, phase: Phase, reply: Reply) -> None:
        super().__init__(f"{phase}: {reply}")
        self.phase = phase
        self.reply = reply
        self.answer = answer_of(phase, reply)


class SessionLost(SessionError):
    """
    The connection was lost, or its peer spoke nonsense or nothing at all.

    `ambiguous`: after the final dot and before its answer, so the message may have been taken.
    """

    def __init__(
        self,
        phase: Phase,
        reason: str,
        *,
        answer: Answer = Answer.CLOSED,
        ambiguous: bool = False,
    ) -> None:
        super().__init__(f"{reason} (in {phase})")
        self.phase = phase
        self.answer = answer
        self.ambiguous = ambiguous


class TlsUnavailable(SessionError):
    """TLS is required and cannot be had."""


class LoginUnavailable(SessionError):
    """A login is configured, and the server offers none that we know."""


@valueclass(frozen=True, slots=True)
class Peer:
    """Whom to talk to, and how."""

    host: str
    address: str
    port: int
    ehlo: str
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    implicit_tls: bool = False
    credentials: Credentials | None = None
    unverified_login: bool = False
    ca_file: str | None = None  # authorities to trust beside the system's
    source: str | None = None

    @property
    def verifies(self) -> bool:
        """Whether its certificate has to be good for its name; a password goes to no other host."""
        logs_in = self.credentials is not None and not self.unverified_login
        return self.tls is TlsMode.VERIFIED or logs_in

    @property
    def protection(self) -> Protection:
        """How a session with it stands once TLS has begun."""
        if self.verifies:
            return Protection.VERIFIED
        may_fail = self.tls is TlsMode.OPPORTUNISTIC and not self.implicit_tls
        # A login that was meant to be protected is not said in clear.
        if may_fail and self.credentials is None:
            return Protection.OPPORTUNISTIC
        return Protection.REQUIRED
