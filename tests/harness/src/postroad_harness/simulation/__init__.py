"""A whole relay in one thread, on a clock that jumps, with faults drawn from a seed."""
