"""
The table of connections, and the memory that they hold together. No I/O.

In: connections as they come and go, the octets that each holds, and the limits. Out: a slot or the
reason why there is none, and the connections that have to go.
"""
