"""
The terminal: reading options and their values; printing tables, JSON and help.

It knows nothing about relays and clusters. Every command uses it.
"""
