"""`postroad demo` shows each of its four messages, and ends by itself."""

import asyncio

import pytest

from postroad.testing.children import run
from postroad.testing.patience import patient

pytestmark = pytest.mark.nats


def kinds(section: str) -> list[str]:
    """Return the types of the events a section lists."""
    return [line.split()[2] for line in section.splitlines() if line.startswith("20")]


async def test_the_demo_shows_four_messages_and_the_notification() -> None:
    code, out, err = await asyncio.wait_for(run("demo"), patient(40))
    assert code == 0, err
    _, *sections = out.split("\n\n")
    delivered, deferred, two, bounced, notification, *_ = sections
    assert kinds(delivered) == ["accepted", "delivered"]
    assert kinds(deferred) == ["accepted", "deferred", "delivered"]
    assert kinds(two) == ["accepted", "delivered", "delivered"]
    assert kinds(bounced) == ["accepted", "bounced"]
    assert kinds(notification) == ["delivered"]
