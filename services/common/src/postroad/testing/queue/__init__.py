"""
Real NATS servers on loopback, a proxy in front of them, and messages to queue.

In: a folder, and the layout, accounts or faults that a test wants. Out: running servers with their
URLs, and messages in the queue or taken from it.
"""
