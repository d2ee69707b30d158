"""
The `postroad` command: the relay on one machine, and everything a person asks of a cluster.

`app` lists the commands; each is imported when it runs. What comes in is a command line; what goes
out is text for people, JSON lines for programs, and an exit code.
"""
