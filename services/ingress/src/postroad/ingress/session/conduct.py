"""
What a session does besides mail: mistakes, refused mail, and commands that move nothing.

Each is counted until a message is accepted. From half of its limit on, each further mistake or
refusal makes the client wait a little longer; over the limit the session ends. Postfix has the same
under the names smtpd_soft_error_limit, smtpd_hard_error_limit, smtpd_junk_command_limit and
smtpd_recipient_overshoot_limit. A recipient that does not exist is the list's mistake rather than
the client's, so there may be more of those. What a proven Client's list has in it is not counted at
all: the brake is for those who try out addresses, and a Client may send to any. No I/O, no clock.
"""

from postroad.ingress import replies
from postroad.ingress.limits import IngressLimits
from postroad.smtp.reply import Reply
from postroad.smtp.server.refusals import RCPT_FIRST

_STEP = 0.25  # seconds that each one over half of the limit adds
_LONGEST = 5.0  # seconds
_OVERSHOOT = 1000  # recipients over the limit that a client may ask for before each is a mistake
# MAIL is one of them until its message is accepted.
_MOVES_NO_MAIL = frozenset(
    {"EHLO", "HELO", "MAIL", "RSET", "NOOP", "VRFY", "HELP", "AUTH", "STARTTLS"}
)


class Conduct:
    """The counts of one session since its last accepted message."""

    __slots__ = ("_errors", "_junk", "_limits", "_recipients", "_rejections")

    def __init__(self, limits: IngressLimits) -> None:
        self._limits = limits
        self._errors = 0
        self._rejections = 0
        self._junk = 0
        self._recipients = 0

    def judge(
        self, verb: str, reply: Reply, *, scarce: bool, by_client: bool = False
    ) -> float | Reply:
        """
        Count a command and its reply; return how many seconds the reply has to wait.

        A reply in return is the one that ends the session, behind the command's own. While slots
        are scarce, half of each limit is all there is. `by_client`: in the name of a Client.
        """
        if verb in _MOVES_NO_MAIL:
            self._junk += 1
            if self._junk > self._limits.junk_commands:
                return replies.TOO_MUCH_JUNK
        elif verb == "RCPT":
            self._recipients += 1
            if self._recipients > self._limits.recipients + _OVERSHOOT:
                return self.mistake(scarce=scarce)
        elif verb == "DATA" and reply.code < 300:
            self._errors = self._rejections = self._junk = self._recipients = 0
        if reply.code < 500 or (by_client and _is_of_list(verb, reply)):
            return 0.0
        if reply.code != 550:
            return self.mistake(scarce=scarce)
        self._rejections += 1
        return _consequence(self._rejections, self._limits.rejections, scarce=scarce)

    def mistake(self, *, scarce: bool) -> float | Reply:
        """Count a mistake; return what `judge` does."""
        self._errors += 1
        return _consequence(self._errors, self._limits.errors, scarce=scarce)


def _is_of_list(verb: str, reply: Reply) -> bool:
    """Whether a refusal is of a recipient, or follows from none being left."""
    return verb == "RCPT" or (verb == "DATA" and reply is RCPT_FIRST)


def _consequence(count: int, limit: int, *, scarce: bool) -> float | Reply:
    half = limit // 2
    if count > (half if scarce else limit):
        return replies.TOO_MANY_ERRORS
    return min(max(count - half, 0) * _STEP, _LONGEST)
