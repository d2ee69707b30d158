"""
The server's side of SMTP without I/O: command lines, content, and the PROXY header before them.

In: octets as they come, in any blocks. Out: commands and content as values, or the reason why they
are none. Ingress reads with these, and so do the sink and the hosts of tests.
"""
