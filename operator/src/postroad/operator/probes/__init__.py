"""
Checks of what the objects do not say themselves: DNS records, smarthosts, use of quotas.

Each probe checks at intervals, spread over time, and reports its results. `status` turns these into
conditions.

In: the declared objects, DNS answers, greetings of smarthosts, and counts of quotas in the queue.
Out: DNS facts, judgements of Relays and use of Quotas, for `status`, `configuration` and `postroad
up`.
"""
