"""
Taking records out of the queue. `consumer` is what delivery uses.

`pull` requests messages. Their records go through `arrivals` and `flow_control` to delivery, and
end in `acknowledger`. `unpacking` and `packs` handle messages of several records, `poison` those
that may kill their process, and `sweeps` what waits unseen.

In: records as the servers deliver them, and what delivery decides about each. Out: leased records
to delivery; acknowledgements, returns and settled records to the servers.
"""
