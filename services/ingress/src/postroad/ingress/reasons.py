"""
The reason of a refusal in one word: refusals are counted and searched by it. No I/O.

The text of a reply is a sentence, and several reasons share one enhanced status code.
"""

from postroad.acceptance import verdicts
from postroad.ingress import replies
from postroad.smtp.reply import Reply
from postroad.smtp.server import refusals

_REASONS = {
    "address": (replies.UTF8_NEEDED, verdicts.LOCAL_DOMAIN),
    "authentication": (verdicts.AUTH_REQUIRED, replies.LOGIN_WITHDRAWN),
    "configuration": (
        replies.NOT_CONFIGURED,
        verdicts.CONFIGURATION_INCOMPLETE,
        verdicts.SENDER_CHANGED,
        replies.AUTH_LATER,
    ),
    "connections": (
        replies.TOO_MANY_CONNECTIONS,
        replies.TOO_MANY_FROM_YOU,
        replies.TOO_MANY_FROM_NETWORK,
    ),
    "content": (verdicts.BARE_IN_CONTENT,),
    "draining": (replies.DRAINING,),
    "errors": (replies.TOO_MANY_ERRORS, replies.TOO_MUCH_JUNK),
    "guessing": (replies.AUTH_SHUT_OUT, replies.AUTH_BUSY),
    "idle": (replies.IDLE,),
    "internal": (replies.INTERNAL,),
    "loop": (verdicts.LOOP,),
    "memory": (replies.MEMORY_SCARCE, replies.TURNED_OUT),
    "password": (replies.AUTH_FAILED, replies.AUTH_CANCELLED),
    "protocol": (refusals.NOT_SMTP,),
    "queue": (verdicts.QUEUE_AWAY, verdicts.QUEUE_FULL),
    "quota": (verdicts.QUOTA_LATER, verdicts.QUOTA_NEVER),
    "recipient": (verdicts.NO_SUCH_RECIPIENT,),
    "recipients": (replies.TOO_MANY_RECIPIENTS,),
    "relaying": (verdicts.RELAYING_DENIED,),
    "route": (verdicts.NO_ROUTE,),
    "sender": (verdicts.SENDER_DENIED,),
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
    "size": (verdicts.TOO_LARGE,),
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
_BY_REPLY = {reply: reason for reason, group in _REASONS.items() for reply in group}

REASONS = (*_REASONS, _OTHER)


def reason_of(reply: Reply) -> str:
    """Return the reason of a refusal: one of REASONS."""
    known = _BY_REPLY.get(reply)
    if known is not None:
        return known
    # Replies that quote a syntax error have no fixed text: X.1.X in an address, X.5.X in a command.
    subject = reply.status.subject if reply.status is not None else 0
    return {1: "address", 5: "syntax"}.get(subject, _OTHER)
