"""
Secrets in the published configuration: the cluster key, sealing, and verifiers of passwords.
"""
