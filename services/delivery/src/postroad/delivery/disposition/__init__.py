"""
What follows of an answer, or of none: the table of docs/dispositions.md, retries, notifications.
"""
