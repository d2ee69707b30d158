"""What a process finds on its machine, and what of it may change while it runs or be missing."""
