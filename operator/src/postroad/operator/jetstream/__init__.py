"""
Maintains the queue in JetStream: streams and buckets, their leaders, storage use and backlog.

In: the layout and limits in the operator's settings, and what the NATS servers report. Out: streams
and buckets as they should be, leaders spread over the servers, gauges, and the /backlog page.
"""
