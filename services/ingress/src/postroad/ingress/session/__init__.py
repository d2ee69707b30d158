"""SMTP as a server: octets in, commands, replies out, and the end of a connection."""
