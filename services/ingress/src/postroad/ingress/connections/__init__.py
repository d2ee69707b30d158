"""The table of connections and the memory they hold together. No I/O."""
