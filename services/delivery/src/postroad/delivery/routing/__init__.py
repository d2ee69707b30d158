"""Where mail goes: the way out of the configuration, the DNS, and hosts in order."""
