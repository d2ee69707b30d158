"""
The server's side of SMTP without I/O: the conversation, and the PROXY header before it.

In: octets as they come, in any blocks, and the codes of the replies. Out: commands and content as
values, what is out of its order with its refusal. Ingress, the sink and the hosts of tests speak by
it.
"""
