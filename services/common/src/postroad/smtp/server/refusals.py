"""
What the protocol alone refuses: lines that hold no command, and commands out of their order.

All servers here say the same. What else is refused, each says for itself.
"""

from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply

HELO_FIRST = Reply.of(503, "5.5.1", "say HELO or EHLO first")
MAIL_FIRST = Reply.of(503, "5.5.1", "say MAIL first")
RCPT_FIRST = Reply.of(503, "5.5.1", "no valid recipients")
NESTED_MAIL = Reply.of(503, "5.5.1", "a transaction is open, say RSET first")
TLS_ALREADY = Reply.of(503, "5.5.1", "TLS is on already")
AUTH_ALREADY = Reply.of(503, "5.5.1", "authenticated already")
AUTH_IN_TRANSACTION = Reply.of(503, "5.5.1", "not during a transaction")
LINE_TOO_LONG = Reply.of(500, "5.5.2", "a line is too long")

LINE_ENDLESS = Reply.of(421, "4.5.2", "a line does not end")
BARE_LINE_END = Reply.of(554, "5.5.2", "a line ends with CRLF and nothing else")
NOT_SMTP = Reply.of(421, "4.7.0", "this port speaks SMTP")


class UnreadableInput(RemoteProtocolError):
    """A client said what ends the conversation; `reply` tells it why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply
