"""
Test doubles and helpers for tests with Postroad, in the wheel so that others can use them, too.

`peers` has the hosts around a relay: MX, SMTP client, DNS, OTLP collector. `queue` has real NATS
servers and messages to queue. `processes` runs parts of Postroad or a whole relay. `patience`,
`children` and `streams` are helpers of all three.

In: what a test wants of its hosts, servers and processes. Out: addresses to talk to, and what has
arrived there. All of it ends with the test.
"""
