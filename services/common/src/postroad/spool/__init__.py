"""
The queue: its interface, its wire format, and its two implementations.

`interface` defines what the queue promises, independent of NATS; ingress, delivery and the command
import that. `jetstream` implements it with NATS JetStream, `memory` in plain Python for tests and
simulations. One suite of contract tests runs on both. Only `wire` reads and writes stored octets.

In: records and bodies from ingress and delivery, orders and configuration from operators. Out: an
acknowledgement when all is stored durably; leased records to delivery; the shared state to every
process.
"""
