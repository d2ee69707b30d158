"""
The operator: turns custom resources into the configuration in force, and writes their status.

It is level-triggered: each run works from the state of all objects, not from single events.
`kubernetes` watches the objects, `cache` keeps them, `configuration` compiles and publishes them,
`probes` check DNS records, smarthosts and quotas, `status` writes the result into each object, and
`jetstream` maintains the queue's streams. Several operators may run; the one with the Lease leads.

In: the cluster's objects, the DNS, answers of smarthosts, sessions of the data plane. Out: the
published configuration, the status of each object, Events, the queue's streams and gauges.
"""
