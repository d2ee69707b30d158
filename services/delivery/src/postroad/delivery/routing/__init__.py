"""Finds where mail goes: its egress path in the configuration, and its hosts in the DNS."""
