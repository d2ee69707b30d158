"""
From all declared objects to what is in force, and to the conditions of each. No I/O.

`compile` follows references and decides conflicts, `entries` makes the values, `findings` gathers
what is wrong; `check` is the way through for files, as `postroad check` and `up` go it.
"""
