"""
The words in which people write amounts, addresses and names, in manifests and in settings.

In: one text. Out: its value, or a ValueError with a sentence that shows a right one.
"""
