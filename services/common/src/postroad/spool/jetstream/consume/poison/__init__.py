"""
Poison messages: records that may kill the processes that take them.

`suspects` says which these are, and which records are unreadable. `trials` hands suspects out one
after another. `returned` counts returns in good order, which are no deaths. `strays` holds what no
consumer takes.

In: records as delivered, the number of their deliveries, and notes about earlier returns. Out:
which records are suspect or poison, when a suspect is tried, and the put that holds one.
"""
