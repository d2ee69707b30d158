"""
The queue's server, looked after: streams and buckets, their leaders, room and backlog.
"""
