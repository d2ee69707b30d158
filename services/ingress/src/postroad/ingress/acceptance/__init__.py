"""
From an accepted envelope and its content to records in the queue, quotas and history with it.
"""
