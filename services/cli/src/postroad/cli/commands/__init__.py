"""
The commands that need one or two modules: check, send, status, events and demo.

Each reads its options, does its work, and prints the result. Larger commands have a folder.

In: options, and manifests, a server or a cluster that they name. Out: tables or JSON lines on the
terminal; from `send`, a message to the server.
"""
