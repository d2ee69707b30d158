"""Floods of connections, connections by the thousand, and every way of leaving one."""
