"""A configuration half published is in force nowhere; the next publication completes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from postroad.spool.agreement import ConfigState
from postroad.spool.bucket import Bucket
from postroad.spool.config import JetStreamConfig
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream import SpoolOptions, provision
from postroad.spool.layout import SINGLE_MACHINE
from postroad.testing.nats_server import NatsServer
from postroad.testing.patience import patient

pytestmark = pytest.mark.nats

OpenLink = Callable[[], Awaitable[Any]]
FIRST = {"relay.a.x": b"1", "client.a.y": b"1"}
SECOND = {"relay.a.x": b"2", "client.a.z": b"2"}


class Follower:
    """What a process has in force, as it follows."""

    def __init__(self, config: JetStreamConfig) -> None:
        self.states: list[Mapping[str, bytes]] = []
        self._task = asyncio.create_task(self._run(config.follow()))

    async def _run(self, states: AsyncIterator[ConfigState]) -> None:
        async for state in states:
            self.states.append(dict(state.entries))

    async def until(self, entries: Mapping[str, bytes]) -> None:
        """Wait until these are in force."""
        async with asyncio.timeout(patient(15)):
            while not self.states or self.states[-1] != entries:
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Follow no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


class Killed(JetStreamConfig):
    """A publisher that is killed before it writes the head."""

    async def _commit(self, *_: object) -> None:
        raise SpoolUnavailable("killed")


async def test_nothing_is_in_force_before_the_head_is_written(open_link: OpenLink) -> None:
    link = await open_link()
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    with pytest.raises(SpoolUnavailable):
        await Killed(Bucket(link, "config")).publish(FIRST)
    await asyncio.sleep(1.5)  # three looks
    assert follower.states == []
    await JetStreamConfig(Bucket(link, "config")).publish(FIRST)
    await follower.until(FIRST)
    with pytest.raises(SpoolUnavailable):
        await Killed(Bucket(link, "config")).publish(SECOND)
    late = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    await asyncio.sleep(1.5)
    assert follower.states == [FIRST]
    assert late.states == []  # it cannot tell what the old state was, and waits
    await JetStreamConfig(Bucket(link, "config")).publish(SECOND)
    await follower.until(SECOND)
    await late.until(SECOND)
    for each in (follower, late):
        await each.stop()


async def test_following_goes_on_after_the_server_was_away(
    open_link: OpenLink, server: NatsServer
) -> None:
    config = JetStreamConfig(Bucket(await open_link(), "config"))
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    await config.publish(FIRST)
    await follower.until(FIRST)
    await server.restart()
    await config.publish(SECOND)
    await follower.until(SECOND)
    await follower.stop()


async def test_a_bucket_that_was_lost_is_filled_and_followed_again(
    open_link: OpenLink, server: NatsServer
) -> None:
    """Else the publisher would take its memory for what is stored, and nobody hear of it."""
    link = await open_link()
    config = JetStreamConfig(Bucket(link, "config"))
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    for entries in (SECOND, FIRST):
        generation = await config.publish(entries)
    await follower.until(FIRST)
    await link.jetstream.delete_stream("KV_config")
    await provision(SpoolOptions(servers=(server.url,)), layout=SINGLE_MACHINE)
    assert await config.publish(FIRST) > generation
    late = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    await late.until(FIRST)
    await config.publish(SECOND)
    await follower.until(SECOND)
    for each in (follower, late):
        await each.stop()


async def test_thousands_of_entries_are_few_round_trips(open_link: OpenLink) -> None:
    link = await open_link()
    config = JetStreamConfig(Bucket(link, "config"))
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    many = {f"domain.a.d{number}": b"1" for number in range(2500)}
    heard = link.client.stats["in_msgs"]
    await config.publish(many)
    assert link.client.stats["in_msgs"] - heard < 20  # each answer is a sync of the disk
    await follower.until(many)
    few = dict(list(many.items())[:3])
    heard = link.client.stats["in_msgs"]
    await config.publish(few)
    assert link.client.stats["in_msgs"] - heard < 2600  # what was written is read once
    await follower.until(few)
    await follower.stop()
