"""
From what is declared to what is in force, and which process has it.

The publisher compiles all objects and writes what differs; sessions of the data plane acknowledge.
"""
