"""
The API server: calls, watches, and the Lease that says which operator leads.

This package does not interpret the objects. Watch events go to the cache as they come.

In: requests of `cache` and `status`, and the process's credentials. Out: lists and watch events to
the cache, written statuses and Events, and whether this operator leads.
"""
