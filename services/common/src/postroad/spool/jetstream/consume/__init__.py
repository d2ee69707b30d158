"""
Taking records out of the queue. `consumer` is what delivery uses.

`pull` requests records. They go through `arrivals` and `flow_control` to delivery, and end in
`acknowledger`. `poison` handles records that may kill their process.

In: records as the servers deliver them, and what delivery decides about each. Out: leased records
to delivery; acknowledgements, returns and settled records to the servers.
"""
