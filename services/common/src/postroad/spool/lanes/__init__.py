"""
The parts of the queue: shards, lanes, and which process owns which lane. No I/O.

In: a record, the layout, and the live sessions of a pool. Out: the lane of the record, the lanes
that a process should own, and the keys of stored records.
"""
