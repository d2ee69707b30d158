"""Turns the log off while seeds are played: thousands of faults would log as many warnings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from postroad_harness.simulation.aims import Aim
from postroad_harness.simulation.play import Result, play
from postroad_harness.simulation.spool import WatchedConsumer


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Write no log below critical in this block."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        processors=[],
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def play_quietly(
    seed: int, consumer: type[WatchedConsumer] = WatchedConsumer, aim: Aim | None = None
) -> Result:
    """Play a seed without a word in the log."""
    with quiet_logs():
        return play(seed, consumer=consumer, aim=aim)
