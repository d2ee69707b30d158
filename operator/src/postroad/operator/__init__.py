"""
The operator: custom resources into the configuration in force, and their status.

It works level-triggered, from lists as from events: `kubernetes` watches, `cache` keeps what is
declared, `configuration` compiles and publishes it, `probes` find out, `status` says what came of
it, and `jetstream` looks after the queue. Of several operators one leads.
"""
