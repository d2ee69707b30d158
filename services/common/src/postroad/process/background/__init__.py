"""
Work beside the main line of a process: tasks that nobody waits for.

In: coroutines. Out: a log line and a count for each that fails, and an end to all of them when
their owner ends. `process.lifecycle` has the parts without which a process had better not live on.
"""
