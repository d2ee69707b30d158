"""
The declared objects of the cluster, kept current by full lists and by watch events in between.

In: lists and watch events of the API server, from `kubernetes`. Out: `Declared` objects, Secrets
and namespaces to `configuration`, `status` and `probes`, with a call when they change.
"""
