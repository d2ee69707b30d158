"""docs/metrics.md is what `postroad up` serves, no less and no more."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.request import urlopen

import pytest

from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay

pytestmark = [pytest.mark.nats, pytest.mark.timeout(60)]

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
LATER = {  # served once there is something to count
    # One series for each pool in which mail was ready.
    "postroad_queue_pool_ready",
    # One series for each stream that has failed to store records, and that has refused them.
    "postroad_queue_publish_failures_total",
    "postroad_queue_stream_refuses",
    # Commands times reasons are some two hundred series: only those that were counted are served.
    "postroad_ingress_refusals_total",
}


def served(address: str) -> set[str]:
    """Return the names of the metrics that have a value on a relay's page."""
    with urlopen(f"http://{address}/metrics", timeout=patient(10)) as answer:
        page = answer.read().decode()
    return {
        re.sub("_(bucket|sum|count)$", "", name)
        for name in re.findall(r"^(postroad_\w+)[{ ]", page, re.MULTILINE)
    }


# Some 7 s: the queue's figures are counted every five.
async def test_up_serves_all_that_is_documented_and_nothing_else(
    start_relay: Callable[..., Awaitable[RunningRelay]],
) -> None:
    documented = set(re.findall("^### `(postroad_.+)`$", PAGE.read_text(), re.MULTILINE))
    relay = await start_relay("")
    found: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patient(20)):
            while not documented - LATER <= found:
                await asyncio.sleep(0.2)
                found = await asyncio.to_thread(served, relay.addresses["http"])
    assert documented - found - LATER == set(), "not served"
    assert found - documented == set(), "not documented"
    assert documented >= LATER
