"""
Poison messages: records that may kill the processes that take them.

`suspects` says which these are, and which records are unreadable. `trials` hands suspects out one
after another. `returned` counts returns in good order, which are no deaths.
"""
