"""
The declared objects of the cluster, kept current by full lists and by watch events in between.

The input is lists and events of the API server. The output is `Declared` objects, and a call when
they change.
"""
