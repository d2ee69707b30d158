"""The embedded nats-server of `postroad up`."""
