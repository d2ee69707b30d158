"""
Decides what follows from a reply, or from none: the table of docs/dispositions.md, retries, DSNs.

In: a record and the outcomes of its attempt, an order or a failed look-up; the time. Out: a
`Settlement`: puts to store, among them notifications, and events to write.
"""
