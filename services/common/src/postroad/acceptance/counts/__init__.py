"""
Counts of failed logins and of refusals to strangers, over the cluster, in windows of time.

In: failed logins from ingress, refusals from `rejections`, and the counts in the queue. Out: the
counts with these added, to the queue; how many there are in the window, as far as this process
knows.
"""
