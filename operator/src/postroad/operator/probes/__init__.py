"""
Checks of what the objects do not say themselves: DNS records, smarthosts, use of quotas.

Each probe checks at intervals, spread over time, and reports its results. `status` turns these into
conditions.
"""
