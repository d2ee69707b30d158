"""
Background work of a process: tasks that nobody awaits, and the back-off of loops that retry.

In: coroutines; the number of failures. Out: a log line and a count for each task that fails, the
cancellation of all tasks when their owner ends; the pause before the next try. A task whose failure
must end the process belongs to `process.lifecycle` instead.
"""
