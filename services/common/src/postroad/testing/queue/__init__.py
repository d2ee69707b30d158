"""Real NATS servers on loopback, a proxy in front of them, and messages to queue."""
