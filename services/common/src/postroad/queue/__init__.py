"""
The queue as processes of every role have it: opened from settings, with what is configured in it.

In: settings and a spool. Out: an open spool, the configuration in force, gauges of what waits.
"""
