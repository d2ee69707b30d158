"""
The queue in NATS JetStream, put together in `spool`.

`nats` is the client, `streams` what is provisioned, `cluster` what processes agree on, and
`directories` what they look up; `publish`, `bodies` and `consume` are the ways of a record in,
beside and out. `browse` looks without taking.
"""
