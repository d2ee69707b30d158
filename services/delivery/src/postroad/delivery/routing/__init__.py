"""Where mail goes: the egress path of the configuration, the DNS, and hosts in order."""
