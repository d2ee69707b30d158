"""
`postroad up`: the whole relay on one machine, from one command.

It starts an embedded nats-server and the ingress and delivery processes, follows the manifests, and
does the operator's work. It stops everything in an order that loses no mail.

In: flags, manifest files, and the state folder. Out: a running relay, its addresses on the
terminal, one metrics page, and findings for `postroad status`.
"""
