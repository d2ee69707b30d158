"""
Looks through waiting mail now and then for what nobody else would see.

In: the queue browser, the lanes of this process, the sessions. Out: overdue schedules stored again,
and the pools that have mail but no process.
"""
