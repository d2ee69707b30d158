"""The `postroad` command: the relay on one machine, and everything a person asks of a cluster."""
