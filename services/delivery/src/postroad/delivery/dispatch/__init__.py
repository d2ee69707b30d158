"""Takes records from the queue, assigns them to sites, runs the attempts, and settles records."""
