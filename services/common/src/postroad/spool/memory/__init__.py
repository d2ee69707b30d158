"""The queue in memory: the same promises as JetStream's, but for durability."""
