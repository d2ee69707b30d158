"""
`postroad queue`: the mail that waits, and orders on it.

A selection says which mail; listings and orders take it. Orders go to the cluster as values and are
carried out by delivery, not here.
"""
