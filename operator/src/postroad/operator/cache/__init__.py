"""
What the cluster declares, as values: kept true by full lists and by watch events in between.

In go lists and events of the API server; out come `Declared` objects, and a call when they change.
"""
