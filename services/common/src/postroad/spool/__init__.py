"""The queue: records, the interface to them, and its two homes, JetStream and memory."""
