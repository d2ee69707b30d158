"""
`postroad queue`: lists queued mail, and gives orders for it.

A selection says which mail is meant. An order is stored in the cluster, and the delivery processes
carry it out.

In: options that select mail, and a cluster. Out: lists of mail and orders on the terminal, and
orders in the cluster.
"""
