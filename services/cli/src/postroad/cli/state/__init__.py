"""
The state folder of `postroad up`, which other commands read too.

It holds the queue, the keys, and what `up` has found of its objects. One relay has it at a time.
"""
