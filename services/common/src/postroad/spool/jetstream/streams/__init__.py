"""Streams, subjects and consumers: their names, their creation, and how full their storage is."""
