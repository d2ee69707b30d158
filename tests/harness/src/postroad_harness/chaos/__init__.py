"""Kills processes under load for minutes, and then accounts for every message."""
