"""
Creates the queue's streams and buckets, and repairs their settings. It never deletes data.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from postroad.operator import metrics
from postroad.operator.settings import LayoutSettings
from postroad.process.background.backoff import Backoff
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import Layout
from postroad.telemetry.logs import get_logger

Provision = Callable[[], Awaitable[object]]

EVERY = timedelta(minutes=1)
_BACKOFF = Backoff(timedelta(seconds=0.5), timedelta(seconds=5))

log = get_logger(__name__)


def left_out(in_force: Layout, wanted: Layout) -> str | None:
    """
    Return why mail in the queue is not delivered, None if it is.

    The servers' accounts have the shards that the settings name. So the other roles cannot reach
    those that a lower number leaves out, and the mail in them waits.
    """
    if wanted.shards >= in_force.shards:
        return None
    return (
        f"the queue has {in_force.shards} shards and the settings name {wanted.shards}: mail in the"
        f" others is not delivered; set queue.shards of the chart, or POSTROAD_QUEUE_SHARDS and the"
        f" servers' accounts, to {in_force.shards} or more"
    )


async def provision_first(options: SpoolOptions, settings: LayoutSettings) -> Layout:
    """Provision, retrying until the servers answer; return the layout in force."""
    for failures in itertools.count(1):
        try:
            in_force = await provision_by(options, settings)
        except SpoolError as error:
            metrics.ERRORS.labels("provision").inc()
            log.warning("the queue is not provisioned yet", error=str(error))
            await asyncio.sleep(_BACKOFF.seconds(failures, random))
            continue
        if (problem := left_out(in_force, settings.layout)) is not None:
            log.error(problem)
        elif in_force != settings.layout:
            log.warning(
                "the queue keeps the layout it was made with",
                in_force=str(in_force),
                wanted=str(settings.layout),
            )
        return in_force
    raise AssertionError("it is tried for ever")


async def look_after(provision_again: Provision, *, every: timedelta = EVERY) -> None:
    """
    Make lost streams again and repair changed settings every minute, until cancelled.

    nats-server may lose a stream, for example if the disk is full while it starts. What needs that
    stream waits until it is there again.
    """
    while True:
        await asyncio.sleep(every.total_seconds() * random.uniform(0.8, 1.2))
        try:
            await provision_again()
        except SpoolError as error:
            metrics.ERRORS.labels("provision").inc()
            log.warning("the queue cannot be looked after for now", error=str(error))


async def provision_by(options: SpoolOptions, settings: LayoutSettings) -> Layout:
    """Provision by an operator's settings; return the layout in force."""
    return await provision(options, layout=settings.layout, capacity=int(settings.capacity))
