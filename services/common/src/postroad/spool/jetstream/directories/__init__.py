"""
What the cluster knows and a process asks for one key at a time: a help, not a truth. Nobody waits
for it to be written, and mail goes on without it.
"""
