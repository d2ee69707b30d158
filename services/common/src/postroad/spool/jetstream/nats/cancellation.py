"""
Heeding cancellation around nats-py, whose requests lose it.

It turns a cancellation into a time-out; and Python 3.11's wait_for, which it uses, forgets one that
comes in the same moment as the answer. A loop of requests would then go on for ever, so whoever
makes one asks here afterwards.
"""

import asyncio


def heed_cancellation() -> None:
    """Raise CancelledError when the running task was asked to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
