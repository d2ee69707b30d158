"""
The queue in NATS JetStream. `opening` creates and opens it, `spool` puts its parts together.

`nats` is the client, `streams` provisions the streams, `cluster` has the state that processes share
and `directories` what they look up. `publish` stores records, `bodies` stores large content, and
`consume` takes records for delivery. `browse` reads records without taking them.

In: the addresses of the servers and the role of the process (`SpoolOptions`). Out: a `Spool`, whose
calls return when JetStream has acknowledged what must not be lost.
"""
