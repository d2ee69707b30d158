"""
Limits that processes share: quotas of senders, connections and message rates of sites.

These are pure decisions over values. `spool` keeps the counts for the cluster.
"""
