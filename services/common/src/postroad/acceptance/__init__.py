"""
From an envelope and its content to records in the queue: what is admitted, quotas and history.

`admission` decides about sender and recipients. `incoming` takes the content, `quotas` spends,
`records` and `provenance` make what is stored, `history` tells what was accepted and refused, and
`verdicts` are the replies. `rejections` and `counts` limit what strangers do.

In: an envelope and its content in pieces, from a session of ingress; the configuration. Out:
records to the queue, and to the session the reply: 250 once all of them are stored.
"""
