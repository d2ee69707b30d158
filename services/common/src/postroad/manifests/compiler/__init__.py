"""
Compiles all declared objects into the configuration and the conditions of each object. No I/O.

`compile` decides conflicts and what is in force, `claims` whose mail each Domain takes, `usernames`
which Client has a username. `references` resolves references, `entries` makes the values,
`findings` has what is wrong with an object. `check` does all of it for files, for `postroad check`
and `postroad up`.

In: declared objects with their Secrets and namespaces, keyrings, and the entries in force. Out: the
entries to publish, and the conditions of each object (`Compiled`).
"""
