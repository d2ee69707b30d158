"""
`postroad load`: sends much mail to a server, and measures its answers.

`plan` says what is sent, `run` keeps the sessions sending, `session` is one connection, `figures`
counts and times the replies, and `target` refuses servers that must not be loaded.

In: the options of the command: a server, and how much mail of which size and rate. Out: messages to
the server; counts, rates and latencies on the terminal, as text or JSON.
"""
