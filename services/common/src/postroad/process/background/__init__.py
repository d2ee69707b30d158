"""
Work beside the main line of a process: tasks that nobody waits for, and loops that try again.

In: coroutines; how often something has failed. Out: a log line and a count for each task that
fails, and an end to all of them when their owner ends; the pause before the next try.
`process.lifecycle` has the parts without which a process had better not live on.
"""
