"""
The API server: calls, watches, and the Lease that says which operator leads.

Nothing here knows what the objects mean. Watch events go to the cache as they come.
"""
