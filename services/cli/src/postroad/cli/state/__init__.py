"""
The state folder of `postroad up`, which other commands read too.

It holds the queue, the keys, and the results of checking the objects. One relay at a time uses it.
"""
