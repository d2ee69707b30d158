"""
What a process finds on its machine, and what of it may change while it runs or be missing.

In: resolv.conf, and the standard streams that the process inherited. Out: the name servers as they
are now, to the users of the DNS; streams that can be written to.
"""
