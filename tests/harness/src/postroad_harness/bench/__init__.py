"""Benchmarks against other mail servers and other commits, and profiling."""
