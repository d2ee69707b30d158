"""The parts of the queue: shards, lanes, and which process owns which lane. No I/O."""
