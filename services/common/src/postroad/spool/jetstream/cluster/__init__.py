"""
The state that processes share: sessions, lane owners, the configuration, orders, the use of quotas
and records of sites in key-value buckets, and the history of mail in a stream.
"""
