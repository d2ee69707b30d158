"""
Decides what follows from the outcomes of an attempt, or without one: retries, DSNs, an end.

In: a record and the outcomes of its attempt, an order or a failed look-up; the time. Out: a
`Settlement`: puts to store, among them notifications, and events to write.
"""
