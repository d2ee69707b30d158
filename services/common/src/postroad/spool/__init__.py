"""
The queue: its contract, its wire format, and its two homes.

`interface` says every promise and no word of NATS; ingress, delivery and the command import that.
`jetstream` keeps it in NATS, `memory` in plain Python for tests and simulations; one suite of tests
runs on both. `wire` is the only reader of stored octets.
"""
