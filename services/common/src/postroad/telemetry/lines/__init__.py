"""
Log lines: their fields, their rendering for people and as JSON, and their output.

In: one event with its fields. Out: one line of text, written by a thread.
"""
