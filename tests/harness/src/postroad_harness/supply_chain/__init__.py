"""
What comes from others: which files, with which hashes, and what is known against them.

`requirements/` goes in, as `make lock` writes it. It belongs to a checkout: nothing here ships.
"""
