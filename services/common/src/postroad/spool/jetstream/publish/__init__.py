"""Records into the queue: durable when it returns, stored once for all tries."""
