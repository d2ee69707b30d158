"""The configuration in force follows what is published, and survives unreadable entries."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from structlog.testing import capture_logs

from postroad.policy.model import Client, Domain, EgressPath, Entry, ObjectKey, Relay
from postroad.policy.secrets.scram import make_verifier
from postroad.queue.configuration import Configuration, publish_objects
from postroad.spool.agreement import ConfigState
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient

RINGS = keyrings()
RELAY = Relay(ObjectKey("x", "r"), ("*",), EgressPath("relay:x/r"))
DOMAIN = Domain(ObjectKey("x", "d"), "d.example")
VERIFIER = make_verifier("top secret", salt=b"s" * 16, iterations=10)
CLIENT = Client(ObjectKey("x", "c"), "user", VERIFIER)


def keyed(*entries: Entry) -> dict[str, Entry]:
    return {f"{type(each).__name__.lower()}.x.{each.key.name}": each for each in entries}


@asynccontextmanager
async def following(spool: MemorySpool) -> AsyncIterator[Configuration]:
    configuration = Configuration(spool, RINGS, retry=timedelta(milliseconds=1))
    task = asyncio.create_task(configuration.run())
    try:
        yield configuration
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(configuration: Configuration, met: Callable[[], bool]) -> None:
    """Wait for a change after which something holds."""
    async with asyncio.timeout(patient(5)):
        while not met():
            await configuration.changed()


async def test_what_is_published_comes_into_force_and_is_announced() -> None:
    cluster = MemoryCluster()
    spool, publisher = MemorySpool(cluster), MemorySpool(cluster)
    async with following(spool) as configuration:
        assert configuration.current is None
        generation = await publish_objects(publisher, keyed(RELAY, CLIENT), RINGS)
        snapshot = await asyncio.wait_for(configuration.wait_loaded(), patient(5))
        assert snapshot.generation == generation
        assert snapshot.relays == {RELAY.key: RELAY}
        assert snapshot.clients_by_username == {"user": CLIENT, "x/user": CLIENT}

        generation = await publish_objects(publisher, keyed(RELAY, DOMAIN), RINGS)
        await until(configuration, lambda: configuration.current is not snapshot)
        assert configuration.current is not None
        assert set(configuration.current.domains) == {"d.example"}
        assert configuration.current.clients == {}
        assert generation in {each.generation for each in await spool.sessions.live()}


async def test_publishing_the_same_again_is_no_new_generation() -> None:
    spool = MemorySpool()
    first = await publish_objects(spool, keyed(RELAY, CLIENT), RINGS)
    assert await publish_objects(spool, keyed(CLIENT, RELAY), RINGS) == first


async def test_an_empty_configuration_is_none_at_all() -> None:
    spool = MemorySpool()
    async with following(spool) as configuration:
        await publish_objects(spool, keyed(RELAY), RINGS)
        await configuration.wait_loaded()
        await publish_objects(spool, keyed(), RINGS)
        await until(configuration, lambda: configuration.current is None)
        await publish_objects(spool, keyed(DOMAIN), RINGS)
        snapshot = await asyncio.wait_for(configuration.wait_loaded(), patient(5))
        assert set(snapshot.domains) == {"d.example"}


async def test_an_empty_configuration_is_found_all_the_same() -> None:
    spool = MemorySpool()
    async with following(spool) as configuration:
        assert not configuration.published
        assert configuration.lack == "no configuration is published"
        await publish_objects(spool, keyed(), RINGS)
        await until(configuration, lambda: configuration.published)
        assert configuration.current is None
        assert configuration.lack is None


async def test_an_entry_that_cannot_be_read_is_reported_and_passed_over() -> None:
    spool = MemorySpool()
    other = keyrings(b"z")
    with capture_logs() as logs:
        async with following(spool) as configuration:
            await publish_objects(spool, keyed(DOMAIN, CLIENT), other)
            snapshot = await configuration.wait_loaded()
            async with asyncio.timeout(patient(5)):
                while not (told := await spool.sessions.live())[0].generation:
                    await asyncio.sleep(0.01)
    assert configuration.lack == "configured objects cannot be read: the log names them"
    assert [session.stale for session in told] == [True], "and the cluster is told"
    assert set(snapshot.domains) == {"d.example"}
    assert snapshot.clients == {}
    assert snapshot.stale
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert line["objects"] == "client.x.c"
    assert "unknown key" in line["reason"]


async def test_what_changed_is_logged_without_secrets() -> None:
    spool = MemorySpool()
    with capture_logs() as logs:
        async with following(spool) as configuration:
            await publish_objects(spool, keyed(RELAY, CLIENT), RINGS)
            first = await configuration.wait_loaded()
            changed = Client(CLIENT.key, "user", make_verifier("new", salt=b"t" * 16))
            await publish_objects(spool, keyed(DOMAIN, changed), RINGS)
            await until(configuration, lambda: configuration.current is not first)
    told = [line for line in logs if line["event"] == "configuration in force"]
    assert [line["objects"] for line in told] == [
        "+client.x.c +relay.x.r",
        "+domain.x.d ~client.x.c -relay.x.r",
    ]
    assert [line["count"] for line in told] == [2, 2]
    assert "user" not in str(told)
    assert VERIFIER.stored_key.hex() not in str(logs)


class Faulty:
    """A queue's configuration that fails in each way once before it works."""

    def __init__(self, spool: MemorySpool) -> None:
        self._config, self._sessions = spool.config, spool.sessions
        self._follow_errors: list[Exception] = [SpoolUnavailable("away"), RuntimeError("a bug")]
        self._announce_errors: list[Exception] = [SpoolUnavailable("away")]

    async def follow(self) -> AsyncIterator[ConfigState]:
        if self._follow_errors:
            raise self._follow_errors.pop()
        async for state in self._config.follow():
            yield state

    async def announce(self, generation: int, *, stale: bool) -> None:
        if self._announce_errors:
            raise self._announce_errors.pop()
        await self._sessions.announce(generation, stale=stale)


async def test_following_goes_on_after_any_error() -> None:
    cluster = MemoryCluster()
    spool, watched = MemorySpool(cluster), MemorySpool(cluster)
    faulty = Faulty(watched)
    generation = await publish_objects(spool, keyed(RELAY), RINGS)
    announced = asyncio.Event()

    async def announce(generation: int, *, stale: bool) -> None:
        await faulty.announce(generation, stale=stale)
        announced.set()

    spool.config.follow = faulty.follow  # type: ignore[method-assign]
    spool.sessions.announce = announce  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        async with following(spool) as configuration:
            snapshot = await asyncio.wait_for(configuration.wait_loaded(), patient(5))
            await asyncio.wait_for(announced.wait(), patient(5))
    assert snapshot.relays == {RELAY.key: RELAY}
    assert generation in {each.generation for each in await watched.sessions.live()}
    assert [line["event"] for line in logs if line["log_level"] != "info"] == [
        "following the configuration failed",
        "configuration cannot be followed for now",
        "generation cannot be announced for now",
    ]
