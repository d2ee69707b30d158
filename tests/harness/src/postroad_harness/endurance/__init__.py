"""Endurance tests: a million messages through one relay; a queue of 300,000 beside live mail."""
