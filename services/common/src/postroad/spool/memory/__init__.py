"""The queue in memory, with the same interface as in JetStream, but without durability."""
