"""
Which cluster a command talks to, and the connection to it.

Options name a cluster: one on Kubernetes, reached through kubectl, or the relay of a state folder.
`open_cluster` then opens a connection to its queue.

In: options that name a cluster, kubectl, or a state folder. Out: an open `Spool` to the command, or
one sentence why there is none.
"""
