"""
Restores cancellations that nats-py loses.

Its requests turn a cancellation into a timeout. Also, Python 3.11's `wait_for`, which it uses,
loses a cancellation that comes at the same moment as the answer. A loop of requests would then
never end, so the callers of nats-py's requests call this afterwards.
"""

import asyncio


def heed_cancellation() -> None:
    """Raise CancelledError if the current task was cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
