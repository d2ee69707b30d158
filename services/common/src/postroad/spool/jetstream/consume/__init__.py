"""
Records out of the queue: pulled, leased, in flight, settled; and those that kill their takers.
"""
