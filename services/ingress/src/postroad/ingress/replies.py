"""
The replies of ingress. Those of the protocol alone are in `smtp.server.refusals`.

What decides about a message replies with `acceptance.verdicts`.
"""

from postroad.smtp.reply import Reply

OK = Reply.of(250, "2.0.0", "ok")
RESET = Reply.of(250, "2.0.0", "reset")
SENDER_OK = Reply.of(250, "2.1.0", "sender ok")
RECIPIENT_OK = Reply.of(250, "2.1.5", "recipient ok")
START_CONTENT = Reply.of(354, None, "send the message, end with CRLF.CRLF")
BYE = Reply.of(221, "2.0.0", "bye")
VERIFY = Reply.of(252, "2.1.5", "send mail to it, and it will be tried")
HELP = Reply.of(214, "2.0.0", "see RFC 5321")
START_TLS = Reply.of(220, "2.0.0", "ready for TLS")
AUTHENTICATED = Reply.of(235, "2.7.0", "authenticated")

NOT_CONFIGURED = Reply.of(421, "4.3.2", "not configured yet, try again later")
DRAINING = Reply.of(421, "4.3.2", "going down, try again at once")
TOO_MANY_CONNECTIONS = Reply.of(421, "4.3.2", "too many connections, try again later")
TOO_MANY_FROM_YOU = Reply.of(421, "4.7.0", "too many connections from your address")
TOO_MANY_FROM_NETWORK = Reply.of(421, "4.7.0", "too many connections from your network")
IDLE = Reply.of(421, "4.4.2", "idle for too long")
TOO_MANY_ERRORS = Reply.of(421, "4.7.0", "too many errors")
LOGIN_WITHDRAWN = Reply.of(421, "4.7.0", "your login has changed, log in on a new connection")
TOO_MUCH_JUNK = Reply.of(421, "4.7.0", "too many commands that move no mail")

AUTH_SHUT_OUT = Reply.of(454, "4.7.0", "too many failed logins, try again later")
AUTH_BUSY = Reply.of(454, "4.7.0", "too many logins at once, try again later")
AUTH_LATER = Reply.of(454, "4.7.0", "not configured completely, try again later")
INTERNAL = Reply.of(451, "4.3.0", "local error, try again later")
MEMORY_SCARCE = Reply.of(452, "4.3.1", "too little memory for this now, try again later")
TURNED_OUT = Reply.of(421, "4.3.1", "too little memory for you now, try again later")
TOO_MANY_RECIPIENTS = Reply.of(452, "4.5.3", "too many recipients, send the rest separately")

UNKNOWN_COMMAND = Reply.of(500, "5.5.1", "no such command")
NO_ARGUMENT = Reply.of(501, "5.5.4", "no argument is allowed")
NAME_NEEDED = Reply.of(501, "5.5.4", "say who you are")
TLS_NOT_HERE = Reply.of(502, "5.5.1", "TLS cannot be started here")
AUTH_NEEDS_TLS = Reply.of(538, "5.7.11", "only under TLS")
AUTH_UNKNOWN = Reply.of(504, "5.5.4", "no such mechanism")
AUTH_MALFORMED = Reply.of(501, "5.5.2", "not base64, or not what the mechanism says")
AUTH_CANCELLED = Reply.of(501, "5.7.0", "cancelled")
AUTH_FAILED = Reply.of(535, "5.7.8", "wrong username or password")
PARAMETER_UNKNOWN = Reply.of(555, "5.5.4", "no such parameter")
UTF8_NEEDED = Reply.of(553, "5.6.7", "an address beyond ASCII needs SMTPUTF8")
