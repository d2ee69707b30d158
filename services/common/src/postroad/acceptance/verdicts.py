"""
The replies by which acceptance decides about a sender, a recipient or a whole message. No I/O.

Each refusal has a reason in one word, by which it is counted and searched: the text of a reply is a
sentence, and several reasons share one enhanced status code. A process adds the reasons of its own.
"""

from postroad.mail.status import SUCCESS
from postroad.smtp.reply import Reply

QUEUE_AWAY = Reply.of(451, "4.3.0", "the queue does not answer, try again later")
QUEUE_FULL = Reply.of(452, "4.3.1", "the queue is full, try again later")
CONFIGURATION_INCOMPLETE = Reply.of(451, "4.3.5", "not configured completely, try again later")
SENDER_CHANGED = Reply.of(451, "4.7.1", "what you may send has changed, begin again")
QUOTA_LATER = Reply.of(451, "4.7.1", "the quota is used up, try again later")

AUTH_REQUIRED = Reply.of(530, "5.7.0", "authenticate first")
TOO_LARGE = Reply.of(552, "5.3.4", "the message is too large")
BARE_IN_CONTENT = Reply.of(554, "5.6.0", "the message has a bare CR or LF; lines end with CRLF")
LOOP = Reply.of(554, "5.4.6", "too many hops")
RELAYING_DENIED = Reply.of(550, "5.7.1", "relay access denied")
NO_ROUTE = Reply.of(550, "5.7.1", "no route to recipient")
SENDER_DENIED = Reply.of(550, "5.7.1", "you may not send as this address")
LOCAL_DOMAIN = Reply.of(550, "5.1.2", "localhost is no mail domain")
QUOTA_NEVER = Reply.of(550, "5.7.1", "the quota is used up")
NO_SUCH_RECIPIENT = Reply.of(550, "5.1.1", "no such recipient here")

REASONS = {
    QUEUE_AWAY: "queue",
    QUEUE_FULL: "queue",
    CONFIGURATION_INCOMPLETE: "configuration",
    SENDER_CHANGED: "configuration",
    QUOTA_LATER: "quota",
    QUOTA_NEVER: "quota",
    AUTH_REQUIRED: "authentication",
    TOO_LARGE: "size",
    BARE_IN_CONTENT: "content",
    LOOP: "loop",
    RELAYING_DENIED: "relaying",
    NO_ROUTE: "route",
    SENDER_DENIED: "sender",
    LOCAL_DOMAIN: "address",
    NO_SUCH_RECIPIENT: "recipient",
}


def queued(queue_id: str) -> Reply:
    """Return the reply to the final dot of a message that is in the queue."""
    return Reply(250, SUCCESS, (f"queued as {queue_id}",))
