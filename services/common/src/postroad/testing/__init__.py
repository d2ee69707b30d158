"""
Doubles and helpers for tests against Postroad; they ship, so that others can use them too.

`peers` are the hosts around a relay: MX, SMTP client, DNS, OTLP collector. `queue` has real NATS
servers and messages to put into a queue. `processes` runs parts of Postroad or a whole relay.
`patience`, `children` and `streams` serve all three.
"""
