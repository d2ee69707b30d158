"""
What the tests of delivery begin with: records, sites, egress paths and hosts.

In: nothing, or a queue in memory. Out: values, and mail that waits, to the tests of attempts,
sites and the worker.
"""
