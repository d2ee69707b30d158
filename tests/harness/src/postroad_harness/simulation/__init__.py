"""Simulates a whole cluster in one thread, on a simulated clock, with faults drawn from a seed."""
