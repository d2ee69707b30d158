"""
From an accepted envelope and its content to records in the queue, with quotas and history.

`incoming` takes the content, `quotas` spends, `records` and `provenance` make what is stored, and
`history` tells what was accepted and refused.

In: an accepted envelope and its content in pieces, from `session`; the configuration. Out: records
to the queue, and to the session the reply: 250 once all of them are stored.
"""
