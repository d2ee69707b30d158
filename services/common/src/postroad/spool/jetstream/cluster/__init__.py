"""
What processes agree on in key-value buckets: who lives, who owns which lane, configuration, orders,
quotas, and the history of mail.
"""
