"""
From all declared objects to what is in force, and to the conditions of each. No I/O.

`compile` decides conflicts and what is in force, `references` follows references, `entries` makes
the values, `findings` gathers what is wrong. `check` does all of it for files, for `postroad check`
and `postroad up`.
"""
