"""
Shares sites between processes, so that limits are exact: claims on connections, slices of rates.

In: the pools of the Relays, by each configuration; the demand of this process. Out: what it may use
of a site now. The records that the processes share are the queue's (`spool.agreement`).
"""
