"""
What both implementations of the queue decide about a put. No I/O.

In: a put from ingress or delivery, and the lane of its record. Out: the message id of its publish,
its kind in the intake, and the put that moves it on from there.
"""
