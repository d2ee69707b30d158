"""
What the tests of the queue in JetStream begin with: a record, a message, a look at what waits.

In: nothing, or a queue on a real server. Out: values, to the tests of the queue.
"""
