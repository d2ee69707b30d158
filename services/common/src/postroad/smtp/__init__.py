"""
SMTP as values and state machines: replies, commands, content. No I/O.

This package has the client side and the parts that both sides share; `server` has the server side.

In: octets from a peer, and values to send: addresses, parameters, content. Out: replies and
extensions as values, and octets to write. The caller owns the connection.
"""
