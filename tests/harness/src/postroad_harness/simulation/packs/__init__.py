"""
Packs in the simulation.

In: what the real publisher stores. Out: a store with packs, the history that tells what has ended
of them, scenarios in which mail comes together, and consumers with a mistake about packs.
"""
