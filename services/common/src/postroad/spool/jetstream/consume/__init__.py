"""
Taking records out of the queue. `consumer` is what delivery uses.

`pull` requests records. They go through `arrivals` and `flow_control` to delivery, and end in
`acknowledger`. `poison` handles records that may kill their process.
"""
