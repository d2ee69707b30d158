"""
What a process finds on its machine, and what of it may change while it runs or be missing.

In: resolv.conf, the standard streams that the process inherited, libraries that others may load.
Out: the name servers as they are now, to the users of the DNS; streams that can be written to; a
process without the libraries that it does not use.
"""
