"""
Stores records in the queue: durable on return, and stored once even with retries.

`committer` stores what comes at the same time together, `publisher` stores and repeats, and
`succession` finds earlier and later forms of a record.

In: puts from ingress, and from delivery as it settles records. Out: a sequence once they are
stored, or an error that says whether they may be; the shards to avoid.
"""
