"""A half-published configuration is in force nowhere; the next publication completes it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nats
import pytest

from postroad.spool.agreement import ConfigState
from postroad.spool.errors import RecordTooLarge, SpoolUnavailable
from postroad.spool.jetstream.cluster.config import JetStreamConfig
from postroad.spool.jetstream.nats.direct_get import Page, StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, Write, token
from postroad.spool.jetstream.opening import provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer

pytestmark = pytest.mark.nats

OpenLink = Callable[[], Awaitable[Any]]
OpenSpool = Callable[[], Awaitable[JetStreamSpool]]
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


class WatchedBucket(Bucket):
    """A bucket that tells how often it is looked at."""

    _looks = 0

    async def get(self, key: str) -> StoredMessage | None:
        self._looks += 1
        return await super().get(key)

    async def looked_at(self, times: int) -> None:
        """Wait until what is in it now was looked at so often, and what was found is heeded."""
        before = self._looks
        async with asyncio.timeout(patient(20)):
            while self._looks <= before + times:
                await asyncio.sleep(0.05)


class Killed(JetStreamConfig):
    """A publisher that is killed before it writes the head."""

    async def _commit(self, *_: object) -> int:
        raise SpoolUnavailable("killed")


async def test_nothing_is_in_force_before_the_head_is_written(open_link: OpenLink) -> None:
    link = await open_link()
    bucket, others = [WatchedBucket(await open_link(), "config") for _ in range(2)]
    follower = Follower(JetStreamConfig(bucket))
    with pytest.raises(SpoolUnavailable):
        await Killed(Bucket(link, "config")).publish(FIRST)
    await bucket.looked_at(3)
    assert follower.states == []
    await JetStreamConfig(Bucket(link, "config")).publish(FIRST)
    await follower.until(FIRST)
    with pytest.raises(SpoolUnavailable):
        await Killed(Bucket(link, "config")).publish(SECOND)
    late = Follower(JetStreamConfig(others))
    await others.looked_at(3)
    await bucket.looked_at(3)
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


async def test_what_is_no_longer_published_does_not_come_back_when_the_server_is_killed(
    open_spool: OpenSpool,
    open_link: OpenLink,
    server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a process that is started later waits for a configuration for ever."""
    monkeypatch.setattr(f"{JetStreamConfig.__module__}._DELETION_IS_TOLD_FOR", timedelta(seconds=1))
    publisher, process = await open_spool(), await open_spool()
    await publisher.config.publish({**FIRST, **SECOND})
    await publisher.config.publish(SECOND)
    bucket = Bucket(await open_link(), "config")
    async with asyncio.timeout(patient(10)):
        while await bucket.get("entry." + token("client.a.y")) is not None:
            await asyncio.sleep(0.05)
    await server.restart()
    follower = Follower(process.config)
    async with asyncio.timeout(patient(20)):
        while not follower.states:  # as it is done every minute
            await publisher.config.publish(SECOND)
            await asyncio.sleep(0.1)
    assert follower.states == [SECOND]
    await follower.stop()


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


class Counted(Bucket):
    """A bucket that counts the messages that are read of it."""

    read = 0

    async def changes(self, keys: str, *, after: int) -> Page:
        page = await super().changes(keys, after=after)
        self.read += len(page.messages)
        return page


async def test_a_publisher_does_not_read_what_it_wrote(open_link: OpenLink) -> None:
    bucket = Counted(await open_link(), "config")
    config = JetStreamConfig(bucket)
    entries = {f"domain.a.{number}": b"1" for number in range(50)}
    await config.publish(entries)
    for number in range(3):
        del entries[f"domain.a.{number}"]
        entries["domain.a.40"] = b"%d" % number
        await config.publish(entries)
    assert bucket.read == 0
    stored = await JetStreamConfig(bucket).last()
    assert stored is not None
    assert stored.entries == entries


async def test_what_another_publisher_wrote_in_between_is_read(open_link: OpenLink) -> None:
    first = JetStreamConfig(Bucket(await open_link(), "config"))
    other = Bucket(await open_link(), "config")
    await first.publish(FIRST)
    with pytest.raises(SpoolUnavailable):
        await Killed(other).publish({**FIRST, "relay.a.other": b"1"})
    await JetStreamConfig(other).publish(SECOND)
    generation = await first.publish(FIRST)
    assert (await first.publish(FIRST)) == generation
    stored = await JetStreamConfig(other).last()
    assert stored is not None
    assert (stored.generation, stored.entries) == (generation, FIRST)


class Interrupted(Bucket):
    """A bucket into which another publisher writes, once, just before the head."""

    interrupted = False

    async def put_all(self, writes: Sequence[Write], *, patience: timedelta) -> None:
        await super().put_all(writes, patience=patience)
        if not self.interrupted:
            self.interrupted = True
            await super().put_all([Write("entry.relay=2Ea=2Eother", b"1")], patience=patience)


async def test_what_another_publisher_writes_meanwhile_is_put_right_by_the_next_publication(
    open_link: OpenLink,
) -> None:
    config = JetStreamConfig(Interrupted(await open_link(), "config"))
    await config.publish(FIRST)
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    await config.publish(FIRST)
    await follower.until(FIRST)
    await follower.stop()


async def test_the_largest_entry_is_stored_and_followed(open_link: OpenLink) -> None:
    config = JetStreamConfig(Bucket(await open_link(), "config"))
    largest = {"domain.a.x": b"x" * config.largest_entry, "domain.a.y": b"y" * config.largest_entry}
    follower = Follower(JetStreamConfig(Bucket(await open_link(), "config")))
    await config.publish({**largest, "relay.a.z": b"1"})
    await follower.until({**largest, "relay.a.z": b"1"})
    await follower.stop()


async def test_an_entry_that_is_too_large_is_named_at_once_and_nothing_is_written(
    open_link: OpenLink,
) -> None:
    link = await open_link()
    config = JetStreamConfig(Bucket(link, "config"))
    await config.publish(FIRST)
    large = b"x" * (config.largest_entry + 1)
    async with asyncio.timeout(patient(5)):
        with pytest.raises(RecordTooLarge, match=r"domain\.a\.x \(2031617\)"):
            await config.publish({**SECOND, "domain.a.x": large})
    stored = await JetStreamConfig(Bucket(await open_link(), "config")).last()
    assert stored is not None
    assert stored.entries == FIRST
    await config.publish(SECOND)
    assert link.client.stats["reconnects"] == 0


async def test_a_value_that_is_never_taken_is_not_tried_again(open_link: OpenLink) -> None:
    """The server closes the connection for its headers, too, which nats-py does not count."""
    link = await open_link()
    bucket = Bucket(link, "cluster")
    value = b"x" * (link.client.max_payload - 20)
    async with asyncio.timeout(patient(5)):
        for write in (
            bucket.put("a", value, lifetime=timedelta(minutes=1)),
            bucket.put_surely("a", value, patience=timedelta(minutes=1)),
            bucket.put_all([Write("a", b"1"), Write("b", value)], patience=timedelta(minutes=1)),
        ):
            with pytest.raises(RecordTooLarge):
                await write
    assert await bucket.get("a") is None
    assert link.client.stats["reconnects"] == 0


async def test_servers_that_take_less_bound_entries_to_that(tmp_path: Path) -> None:
    async with NatsServer(tmp_path, max_payload=1024 * 1024) as server:
        client = await nats.connect(server.url)
        link: Any = SimpleNamespace(client=client, jetstream=client.jetstream())
        config = JetStreamConfig(Bucket(link, "config"))
        assert config.largest_entry == 1024 * 1024 - 64 * 1024
        await client.close()
