"""
The server side of SMTP without I/O: command lines, content, and the PROXY header before them.

In: octets, in blocks of any size. Out: commands and content as values, or the reason why they are
malformed. Ingress, the sink and the MX hosts of tests use these parsers.
"""
