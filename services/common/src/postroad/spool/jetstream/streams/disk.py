"""
Reports of the free space on the NATS servers' disks.

JetStream's count of stored octets is not enough: the octets of an acknowledged record leave the
count at once, but stay in a block's file until the block is rewritten, up to two minutes later. So
a storm of deferrals can fill a disk to twice the count. A process next to each server therefore
reports the free octets of the file system. The reports are in the bucket in the servers' memory,
since no other bucket can be written when a disk is full. A report that is not renewed expires.
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
_TELL_EVERY = 10.0  # seconds between reports if nothing changes
_WORTH_TELLING = 4 * 1024 * 1024  # octets of difference that are reported at once

_SHARE = 0.2  # of what a server may store: the same as 80 % of JetStream's count
_MOST = 4 * 1024**3  # octets: what two minutes of deferrals leave behind


def reserve(limit: int) -> int:
    """Return the octets to keep free on the disk of a server that may store `limit` octets."""
    return min(int(limit * _SHARE), _MOST)


def free_space(folder: Path) -> int:
    """Return the free octets of a folder's file system. Raises OSError."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def encoded(free: int) -> bytes:
    """Encode a report."""
    return json.dumps({"free": free}).encode()


def least_free(reports: Iterable[StoredMessage]) -> int | None:
    """Return the free octets of the fullest disk, None without reports."""
    told = []
    for report in reports:
        if not is_deletion(report):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told.append(int(json.loads(report.data)["free"]))
    return min(told, default=None)


async def keep_reporting(bucket: Bucket, server: str, look: Callable[[], int]) -> None:
    """Report the free octets when they change, until cancelled; `look` runs in a thread."""
    loop = asyncio.get_running_loop()
    told, told_at = 0, float("-inf")
    while True:
        try:
            free = await asyncio.to_thread(look)
            if abs(free - told) > _WORTH_TELLING or loop.time() - told_at > _TELL_EVERY:
                await bucket.put(f"{REPORTS}{server}", encoded(free), lifetime=LIFETIME)
                told, told_at = free, loop.time()
        except (SpoolError, OSError):
            pass  # the last report is valid until it expires
        await asyncio.sleep(_LOOK_EVERY)
