"""
The queue in memory, with the same interface as in JetStream, but without durability.

In: the calls of `interface` and `agreement`, from tests and simulations. Out: what JetStream would
return, until the process ends. Its clock can be replaced.
"""
