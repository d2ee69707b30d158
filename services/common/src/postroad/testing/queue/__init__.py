"""Real NATS servers on loopback, a proxy before them, and messages to put into a queue."""
