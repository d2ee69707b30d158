"""
A line of the log: its fields, its form for people and for machines, its way out of the process.

In: one event with its fields. Out: one line of text, written by a thread.
"""
