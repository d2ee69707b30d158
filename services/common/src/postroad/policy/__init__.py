"""What is declared: manifests, their compiled snapshot, and the decisions that follow from it."""
