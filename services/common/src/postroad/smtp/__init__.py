"""SMTP as values and state machines: replies, commands, transparency, the client. No I/O."""
