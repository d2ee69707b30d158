"""Streams, subjects and consumers: their names, their making, and how full their storage is."""
