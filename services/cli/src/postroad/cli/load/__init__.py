"""
`postroad load`: sends much mail to a server, and measures its answers.

`plan` says what is sent, `run` keeps the sessions sending, `session` is one connection, `figures`
counts and times the replies, and `target` refuses servers that must not be loaded.
"""
