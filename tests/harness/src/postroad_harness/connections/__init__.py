"""Tests with many connections: floods, clients that use much memory, clients that leave."""
