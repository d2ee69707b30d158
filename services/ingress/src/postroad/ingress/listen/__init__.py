"""
The ports: accepting connections, PROXY headers, the TLS certificate, and the drain.

In: addresses or inherited sockets, certificate files, and TCP connections. Out: a `session` for
each admitted connection, with its client's address and TLS; 421 or just the end to the others.
"""
