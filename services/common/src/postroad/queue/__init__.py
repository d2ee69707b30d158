"""
What processes of every role do with the queue: open it, follow its configuration, measure it.

In: settings and a spool. Out: an open spool, the configuration in force, gauges of waiting mail.
"""
