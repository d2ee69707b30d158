"""
The embedded nats-server of `postroad up`: its configuration, its process and its health.

In: the state folder, the memory of the machine, and the room on its disk. Out: a configuration
file, and a running nats-server with its address and token.
"""
