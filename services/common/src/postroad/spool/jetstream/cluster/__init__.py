"""
The state that processes share, besides the mail.

Sessions, lane owners, the configuration, orders, the use of quotas and records of sites are in
key-value buckets; the history of mail is in a stream.

In: what each process tells the others, published entries, orders, and events. Out: the same to
every process: who lives, who owns which lane, what is in force, what is used up.
"""
