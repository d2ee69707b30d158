"""
`postroad sink`: an SMTP server that discards mail, or keeps it in files, for tests.

It can refuse or defer a share of the messages. It never passes mail on.
"""
