"""Parts of the scenarios on Kubernetes: the release, the network outside it, the report."""
