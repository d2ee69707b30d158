"""
Ingress: accepts mail over SMTP and answers 250 when the queue has it, not before.

`listen` has the ports, `connections` who may have a place; `session` speaks SMTP, `auth` proves
passwords, `counts` what strangers do; `acceptance` makes records of a message and publishes them.
"""
