"""
Records out of the queue: `pull` asks for them, `consumer` is what delivery sees.

What comes in goes through `arrivals` and `flow_control` to delivery, and out by `acknowledger`;
`poison` keeps apart what may have killed its process.
"""
