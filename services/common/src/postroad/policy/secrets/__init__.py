"""
Secrets in the published configuration: the cluster key, sealing, and verifiers of passwords.

In: key files, passwords, and values to seal or to open. Out: keyrings, sealed values, verifiers,
and whether a password matches one.
"""
