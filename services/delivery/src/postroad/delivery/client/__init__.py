"""
SMTP as a client: connections, sessions, and what is known of the peers. The only socket code here.

In: from `attempt`: a peer with its TLS and login, and what to send. Out: an open session, and the
replies to each part of a transaction; an error if the session is lost.
"""
