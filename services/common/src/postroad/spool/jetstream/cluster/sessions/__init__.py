"""
The live processes of the cluster, by the sessions that they keep in the servers' memory.

In: what this process tells of itself. Out: the sessions of all, also for a while after the servers
have lost their memory. `membership` is the whole; its parts are the own session and all sessions.
"""
