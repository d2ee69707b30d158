"""What both implementations of the queue decide about a put. No I/O."""
