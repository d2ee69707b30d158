"""
What all Postroad processes have in common.

In: the environment and inherited sockets. Out: settings, a life cycle from start to drain, the
health and metrics pages, TLS contexts. It does not depend on the queue or its configuration.
"""
