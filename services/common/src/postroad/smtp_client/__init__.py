"""
SMTP as a client: connections, sessions, and what is known of the peers.

`opening` opens a `session`, with a `conversation` over a connection of `network`, which is the only
socket code. `endpoint` and `outages` remember what a peer did. `dispositions` says what is tried
next after which reply.

In: from delivery: a peer with its TLS and login, and what to send. Out: an open session, and the
replies to each part of a transaction; an error if the session is lost.
"""
