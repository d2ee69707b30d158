"""
Mistakes made on purpose, which the simulation has to find.

In: the parts of the real queue. Out: consumers of it with one mistake each, for the tests.
"""
