"""One attempt at a record: host after host, until each recipient has an outcome."""
