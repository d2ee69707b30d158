"""
The commands that are one module each: check, send, status, events and demo.

Each reads its options, does one thing, and says what came of it. Larger ones have a folder.
"""
