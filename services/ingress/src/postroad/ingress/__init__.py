"""
Ingress: accepts mail over SMTP and answers 250 when the queue has it, not before.

`listen` has the ports. `connections` limits how many connections there are and how much memory they
hold. `session` speaks SMTP, and `auth` checks passwords. `postroad.acceptance` decides about mail,
makes the records of a message and publishes them.

In: SMTP connections, and the configuration. Out: replies to clients; records, bodies and events to
the queue.
"""
