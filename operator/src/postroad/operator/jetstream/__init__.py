"""
Maintains the queue in JetStream: streams and buckets, their leaders, storage use and backlog.
"""
