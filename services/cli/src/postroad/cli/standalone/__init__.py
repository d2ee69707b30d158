"""
`postroad up`: the whole relay on one machine, from one command.

It starts an embedded nats-server and the processes of ingress and delivery, follows the manifests,
and does what the operator does on Kubernetes. It ends them in the order that loses nothing.
"""
