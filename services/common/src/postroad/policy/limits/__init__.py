"""
What may still be spent: quotas of senders, connections and rates of sites, shared by processes.

Pure decisions over values; who keeps the counts leases them from the cluster elsewhere.
"""
