"""
How much room the queue's disks really have, told by who stands beside them.

JetStream counts what is stored. A record that was acknowledged takes no more of that count, but
its octets stay in the file of its block until the block is rewritten, up to two minutes later: a
storm of deferrals fills a disk to twice what is counted. So the free octets of the file system are
told as well, in the bucket that the servers keep in memory, since with a full disk no other can be
written. A report that is not renewed ends by itself.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion

REPORTS = "disk."  # and the name of the server
LIFETIME = timedelta(seconds=60)

_LOOK_EVERY = 0.5  # seconds
_TELL_EVERY = 10.0  # seconds, of a disk that stays as it is
_WORTH_TELLING = 4 * 1024 * 1024  # octets of difference

_SHARE = 0.2  # of what a server may store, as JetStream's own count has it
_MOST = 4 * 1024**3  # octets: what two minutes of deferrals leave behind


def reserve(limit: int) -> int:
    """Return the octets that new mail leaves free on a disk of which a server may fill `limit`."""
    return min(int(limit * _SHARE), _MOST)


def free_space(folder: Path) -> int:
    """Return how many octets may still be written where a folder is; OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def encoded(free: int) -> bytes:
    """Return a report."""
    return json.dumps({"free": free}).encode()


def least_free(reports: Iterable[StoredMessage]) -> int | None:
    """Return the free octets of the fullest disk, None while nobody tells of one."""
    told = []
    for report in reports:
        if not is_deletion(report):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told.append(int(json.loads(report.data)["free"]))
    return min(told, default=None)


async def keep_reporting(bucket: Bucket, server: str, look: Callable[[], int]) -> None:
    """Tell how much is free, whenever it changes, until cancelled; `look` may take its time."""
    loop = asyncio.get_running_loop()
    told, told_at = 0, float("-inf")
    while True:
        try:
            free = await asyncio.to_thread(look)
            if abs(free - told) > _WORTH_TELLING or loop.time() - told_at > _TELL_EVERY:
                await bucket.put(f"{REPORTS}{server}", encoded(free), lifetime=LIFETIME)
                told, told_at = free, loop.time()
        except (SpoolError, OSError):
            pass  # the last report stands until it ends
        await asyncio.sleep(_LOOK_EVERY)
