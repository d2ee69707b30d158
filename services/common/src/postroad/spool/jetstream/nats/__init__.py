"""
The client of NATS: the connection, requests, reads of streams, and key-value buckets.

In: the servers' addresses and a login; requests, publishes and keys to write. Out: answers, stored
messages and values, or an error of `spool.errors`, to the rest of `spool.jetstream`.
"""
