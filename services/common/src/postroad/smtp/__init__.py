"""
SMTP as values and state machines: replies, commands, content. No I/O.

Here is the client's side, and what both share; `server` is the other side.
"""
