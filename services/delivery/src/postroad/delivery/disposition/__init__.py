"""
Decides what follows from a reply, or from none: the table of docs/dispositions.md, retries, DSNs.
"""
