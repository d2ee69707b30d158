"""How the queue is parted: shards, lanes, and which process takes which lane. No I/O."""
