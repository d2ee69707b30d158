"""
Takes records from the queue, assigns them to sites, runs the attempts, and settles records.

`worker` takes records, `assignment` finds their sites, `dispatcher` keeps the connections busy,
`settler` ends records. `orders` carries out operators' orders, `renewal` applies configurations.

In: leased records and orders from the queue, each new configuration, and ended attempts. Out:
records to the waiting rooms of `sites` and to `attempt`; settlements, log lines and events to the
queue.
"""
