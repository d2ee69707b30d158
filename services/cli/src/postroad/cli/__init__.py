"""
The `postroad` command: runs a relay on one machine, and shows and changes a cluster's queue.

`app` lists the commands; each is imported when it runs.

In: a command line, and settings in the environment. Out: text for people, JSON lines for programs,
and an exit code.
"""
