"""The operator: custom resources into the configuration in force, and their status."""
