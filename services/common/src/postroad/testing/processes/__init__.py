"""
Postroad under test: an ingress, a delivery worker, single attempts, a whole `postroad up`.

In: a queue, configuration and hosts of a test. Out: a running part or a whole relay, with its
addresses, its records and its history.
"""
