"""
Opens the queue: `provision` creates its streams, and `connect` returns the queue to a process.

`connect` waits until the operator, or `up`, has provisioned the queue.
"""

import asyncio
from functools import partial
from pathlib import Path

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.cancellation import heed_cancellation
from postroad.spool.jetstream.nats.connection import NatsLink
from postroad.spool.jetstream.nats.key_value import Bucket
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.disk import free_space, keep_reporting
from postroad.spool.jetstream.streams.provision import PRESENCE, provision_link, read_layout
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

_LOOK_AGAIN = 0.2  # seconds
_TELL_EVERY = 10.0  # seconds between log lines about a queue that cannot be opened yet

log = get_logger(__name__)


async def provision(options: SpoolOptions, *, layout: Layout, capacity: int = 0) -> Layout:
    """
    Create or correct the queue's streams and buckets; return the layout in force.

    `capacity` is one server's max_file_store in octets, 0 when it is not known.
    """
    link = NatsLink(options.access())
    await link.open()
    try:
        return await provision_link(link, layout, capacity=capacity)
    finally:
        await link.close()


async def report_disk(options: SpoolOptions, folder: Path) -> None:
    """Report the free space of a server's folder to the processes, until cancelled."""
    link = NatsLink(options.access())
    await link.open(timeout=options.patience)
    try:
        await keep_reporting(Bucket(link, PRESENCE), options.process, partial(free_space, folder))
    finally:
        await link.close()


async def connect(options: SpoolOptions) -> JetStreamSpool:
    """
    Connect, wait until the queue is provisioned, and join the cluster.

    Raises SpoolUnavailable when no server answers or nobody provisions in time.
    """
    link = NatsLink(options.access())
    deadline = asyncio.get_running_loop().time() + options.patience.total_seconds()
    await link.open(timeout=options.patience)
    try:
        layout = await _wait_for_layout(link, deadline)
        spool = JetStreamSpool(link, layout, options)
        await spool.start(deadline)
    except BaseException:
        await link.close()
        raise
    return spool


async def _wait_for_layout(link: NatsLink, deadline: float) -> Layout:
    loop = asyncio.get_running_loop()
    tell_at = loop.time() + _TELL_EVERY
    while True:
        try:
            layout = await read_layout(link)
            reason = SpoolUnavailable("the queue is not provisioned")
        except SpoolUnavailable as error:
            heed_cancellation()
            layout, reason = None, error
        if layout is not None:
            return layout
        if loop.time() > deadline:
            raise reason
        if loop.time() > tell_at:
            log.warning("the queue cannot be opened yet", error=str(reason))
            tell_at += _TELL_EVERY
        await asyncio.sleep(_LOOK_AGAIN)
