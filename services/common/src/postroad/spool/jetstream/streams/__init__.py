"""
Streams, subjects and consumers: their names, their creation, and how full their storage is.

In: the layout of the queue, its capacity, and values that name a record. Out: streams and buckets
on the servers; names of streams, subjects and consumers; whether there is room.
"""
