"""
The reason of a refusal in one word: refusals are counted and searched by it. No I/O.

Those of replies that acceptance gives are in `acceptance.verdicts`; these are ingress's own.
"""

from postroad.acceptance import verdicts
from postroad.ingress import replies
from postroad.smtp.reply import Reply
from postroad.smtp.server import refusals

_OWN = {
    "address": (replies.UTF8_NEEDED,),
    "authentication": (replies.LOGIN_WITHDRAWN,),
    "configuration": (replies.NOT_CONFIGURED, replies.AUTH_LATER),
    "connections": (
        replies.TOO_MANY_CONNECTIONS,
        replies.TOO_MANY_FROM_YOU,
        replies.TOO_MANY_FROM_NETWORK,
    ),
    "draining": (replies.DRAINING,),
    "errors": (replies.TOO_MANY_ERRORS, replies.TOO_MUCH_JUNK),
    "guessing": (replies.AUTH_SHUT_OUT, replies.AUTH_BUSY),
    "idle": (replies.IDLE,),
    "internal": (replies.INTERNAL,),
    "memory": (replies.MEMORY_SCARCE, replies.TURNED_OUT),
    "password": (replies.AUTH_FAILED, replies.AUTH_CANCELLED),
    "protocol": (refusals.NOT_SMTP,),
    "recipients": (replies.TOO_MANY_RECIPIENTS,),
    "sequence": (
        refusals.HELO_FIRST,
        refusals.MAIL_FIRST,
        refusals.RCPT_FIRST,
        refusals.NESTED_MAIL,
        refusals.TLS_ALREADY,
        replies.TLS_NOT_HERE,
        refusals.AUTH_ALREADY,
        refusals.AUTH_IN_TRANSACTION,
    ),
    "syntax": (
        replies.UNKNOWN_COMMAND,
        refusals.LINE_TOO_LONG,
        refusals.LINE_ENDLESS,
        refusals.BARE_LINE_END,
        replies.NO_ARGUMENT,
        replies.NAME_NEEDED,
        replies.PARAMETER_UNKNOWN,
        replies.AUTH_UNKNOWN,
        replies.AUTH_MALFORMED,
    ),
    "tls": (replies.AUTH_NEEDS_TLS,),
}
_OTHER = "other"
_BY_REPLY = verdicts.REASONS | {reply: reason for reason, group in _OWN.items() for reply in group}

REASONS = (*sorted(set(_BY_REPLY.values())), _OTHER)


def reason_of(reply: Reply) -> str:
    """Return the reason of a refusal: one of REASONS."""
    known = _BY_REPLY.get(reply)
    if known is not None:
        return known
    # Replies that quote a syntax error have no fixed text: X.1.X in an address, X.5.X in a command.
    subject = reply.status.subject if reply.status is not None else 0
    return {1: "address", 5: "syntax"}.get(subject, _OTHER)
