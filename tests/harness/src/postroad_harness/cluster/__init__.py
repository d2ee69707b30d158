"""
Parts of the scenarios on Kubernetes: the release, the network outside it, the report.

`operators` is for tests that need an API server and no nodes.
"""
