"""
The terminal: reading options and their values; printing tables, JSON and help.

It knows nothing about relays and clusters. Every command uses it.

In: option values as text, and rows of values to print. Out: parsed values or one sentence of error,
and text that fits the terminal.
"""
