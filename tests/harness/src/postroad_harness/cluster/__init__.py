"""The scenes of the scenarios on Kubernetes: the release, the world outside it, the report."""
