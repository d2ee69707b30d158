"""
From an accepted envelope and its content to records in the queue, with quotas and history.

`intake` takes the content, `quotas` spends, `records` and `provenance` make what is stored, and
`history` tells what was accepted and refused.
"""
