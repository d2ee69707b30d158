"""
Look-up tables of the cluster, read one key at a time. They are hints: nobody waits until they are
written, and mail flows without them.
"""
