"""
Look-up tables of the cluster, read one key at a time.

They are hints: nobody waits until they are written, and mail flows without them.

In: the site of a domain from delivery, and successful logins from ingress. Out: the same, looked up
by any process; or nothing, if it is not known.
"""
