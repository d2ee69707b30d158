"""Killing processes under load for minutes, and then an account of every message."""
