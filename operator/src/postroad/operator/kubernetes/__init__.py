"""
The API server: calls, watches, and the Lease that says which operator leads.

This package does not interpret the objects. Watch events go to the cache as they come.
"""
