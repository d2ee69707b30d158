"""
Publishes the configuration, and follows which processes have it in force.

`publisher` compiles all objects and writes what has changed. `acknowledgements` reads the sessions
of the data plane, which tell the generation that each process uses.
"""
