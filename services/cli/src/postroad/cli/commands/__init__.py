"""
The commands that need one or two modules: check, send, status, events and demo.

Each reads its options, does its work, and prints the result. Larger commands have a folder.
"""
