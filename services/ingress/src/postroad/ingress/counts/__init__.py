"""Counts of failed logins and of refusals to strangers, over the cluster, in windows of time."""
