"""
Which cluster a command talks to, and the connection to it.

Options name a cluster: one on Kubernetes, reached through kubectl, or the relay of a state folder.
`open_cluster` then opens a connection to its queue.
"""
