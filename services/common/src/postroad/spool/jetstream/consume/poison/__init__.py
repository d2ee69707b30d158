"""
Records that may kill whoever takes them, called poison messages elsewhere.

`suspects` tells which they are, and which cannot be read at all; `trials` hands them out one after
another; `returned` keeps apart what was only handed back.
"""
