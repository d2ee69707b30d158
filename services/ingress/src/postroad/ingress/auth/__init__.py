"""
Logins: SASL, checking passwords against verifiers, and the brake on guessing.

In: a mechanism's responses and the client's address, from `session`; Clients of the snapshot. Out:
the Client that logged in, or `LoginRefused` with its reply; counts and notes for the cluster.
"""
