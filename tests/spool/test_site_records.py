"""The shared state of sites survives failures of the servers, or is known to be lost."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.spool.agreement import SiteKind, SiteView
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, first, take

pytestmark = pytest.mark.nats

# A restart of the server takes less than a session lives, on a slow machine, too.
SLOW = replace(QUICK, session_life=timedelta(seconds=4), self_doubt=timedelta(seconds=3))
HOUR = timedelta(hours=1)
OpenJetStream = Callable[..., Awaitable[JetStreamSpool]]


class Written:
    """Writes a record, and keeps what was there before."""

    def __init__(self, spool: JetStreamSpool) -> None:
        self._spool = spool
        self.views: list[SiteView] = []

    async def write(self, value: bytes, kind: SiteKind = SiteKind.CONNECTIONS) -> SiteView:
        """Write a record; return what was there before, as soon as that can be told."""

        def decide(view: SiteView) -> bytes:
            self.views.append(view)
            return value

        async with asyncio.timeout(patient(20)):
            while True:
                try:
                    await self._spool.site_records.change(kind, "mx.test", decide, lifetime=HOUR)
                    return self.views[-1]
                except SpoolUnavailable:
                    await asyncio.sleep(0.05)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("kind", [SiteKind.CONNECTIONS, SiteKind.MESSAGES])
async def test_what_was_lost_with_the_servers_memory_is_known_to_be_missing(
    server: NatsServer, open_spool: OpenJetStream, kind: SiteKind
) -> None:
    one, other = await open_spool(timings=SLOW), await open_spool(timings=SLOW)
    await Written(one).write(b"claimed", kind)
    server.kill()
    await server.start()
    view = await Written(other).write(b"claimed too", kind)
    assert (view.record, view.certain) == (b"", False)
    assert other.site_records.losses == 1
    async with asyncio.timeout(patient(20)):
        while not (await Written(other).write(b"later", kind)).certain:
            await asyncio.sleep(0.1)
    assert (await Written(one).write(b"again", kind)).record == b"later"


async def test_a_window_is_on_disk(server: NatsServer, open_spool: OpenJetStream) -> None:
    one, other = await open_spool(), await open_spool()
    await Written(one).write(b"begun", SiteKind.WINDOW)
    server.kill()
    await server.start()
    view = await Written(other).write(b"begun since", SiteKind.WINDOW)
    assert (view.record, view.certain) == (b"begun", True)


@pytest.mark.usefixtures("operator")
async def test_a_process_knows_whether_what_it_hears_of_others_is_current(
    server: NatsServer, open_spool: OpenJetStream
) -> None:
    """Else it might end as others wait for it, though it is NATS that is away."""
    records = (await open_spool()).site_records
    assert records.hears_others
    server.kill()
    async with asyncio.timeout(patient(10)):
        while records.hears_others:
            await asyncio.sleep(0.05)
    await server.start()
    async with asyncio.timeout(patient(20)):
        while not records.hears_others:
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("operator")
async def test_news_are_told_once_and_from_the_beginning_when_all_was_lost(
    server: NatsServer, open_spool: OpenJetStream
) -> None:
    one, other = await open_spool(), await open_spool()
    records = other.site_records
    await Written(one).write(b"first")
    assert await records.news(SiteKind.CONNECTIONS) == [b"first"]
    assert await records.news(SiteKind.CONNECTIONS) == []
    server.kill()
    await server.start()
    await Written(one).write(b"second")
    await Written(other).write(b"third")  # by then it knows that the records were lost
    assert await records.news(SiteKind.CONNECTIONS) == [b"third"]


async def test_others_see_what_a_process_has_settled_and_waits_for(
    open_spool: OpenJetStream,
) -> None:
    one, other = await open_spool(role="delivery"), await open_spool(role="delivery")
    taking = asyncio.create_task(first(take(one), 1))
    await one.site_records.settle(5, now=False)
    one.site_records.await_settled(7)
    async with asyncio.timeout(patient(10)):
        while [(i.settled, i.awaits) for i in other.site_records.others] != [(5, 7)]:
            await asyncio.sleep(0.01)
    assert one.site_records.others == []  # the other takes no mail
    taking.cancel()
