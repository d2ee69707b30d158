"""
Packs: messages of the intake that have several records.

`contents` reads them, and `returning` gives their records back. `consume.unpacking` takes them in
hand.

In: packs as delivered, and records of them that were not begun. Out: their records; whole packs to
the servers, or what is left of them stored again.
"""
