"""
Publishes the configuration, and follows which processes have it in force.

`publisher` compiles all objects and writes what has changed. `acknowledgements` reads the sessions
of the data plane, which tell the generation that each process uses.

In: the declared objects of the cache, DNS facts of the probes, the sessions of the data plane. Out:
published entries in the queue's configuration; for `status`, what was compiled and which process
has which generation.
"""
