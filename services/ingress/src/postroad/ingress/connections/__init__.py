"""The table of connections, and the memory that they hold together. No I/O."""
