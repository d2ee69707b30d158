"""
SMTP as a server: octets in, commands, replies out, and the end of a connection.

In: octets from a client, and what the process lets its connection do (`host`). Out: replies to the
client, envelopes and content to `postroad.acceptance`, logins to `auth`.
"""
