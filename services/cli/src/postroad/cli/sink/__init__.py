"""
`postroad sink`: an SMTP server that swallows mail, or keeps it, for trying things out.

It fails in the shares it is told to. It is no relay: nothing leaves it.
"""
