"""
Stores records in the queue: durable on return, and stored once even with retries.

In: puts from ingress, and from delivery as it settles records. Out: a sequence once they are
stored, or an error that says whether they may be; the shards to avoid.
"""
