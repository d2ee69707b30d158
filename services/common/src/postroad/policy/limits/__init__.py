"""
Limits that processes share: quotas of senders, connections and message rates of sites.

These are pure decisions over values. `spool` keeps the counts for the cluster.

In: limits from Quotas and Relays, the demand of this process, and the shared records. Out: what
this process may use, and the record to write for the others.
"""
