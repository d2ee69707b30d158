"""The operator: custom resources of Kubernetes into the configuration in force, and their status."""
