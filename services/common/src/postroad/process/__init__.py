"""
What every process of ours is made of, whatever it does with mail.

In: the environment and inherited sockets. Out: settings, a life from start to drain, the health and
metrics pages, TLS contexts. It knows nothing of the queue or of what is configured in it.
"""
