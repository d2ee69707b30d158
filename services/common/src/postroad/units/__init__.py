"""
Parsers for the amounts, addresses and names that people write in manifests and settings.

In: one text. Out: its value, or a ValueError with a sentence that shows a valid example.
"""
