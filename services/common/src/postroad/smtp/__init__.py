"""
SMTP as values and state machines: replies, commands, content. No I/O.

This package has the client side and the parts that both sides share; `server` has the server side.
"""
