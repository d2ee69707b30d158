"""The age of the oldest mail when there are too many subjects to list."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import WaitKind
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now, record, store

pytestmark = pytest.mark.nats


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[JetStreamSpool]:
    async with NatsServer(tmp_path) as server:
        await provision(SpoolOptions((server.url,), role="operator"), layout=Layout(1, 2, 1))
        opened = await connect(SpoolOptions((server.url,)))
        yield opened
        await opened.close()


async def defer(spool: JetStreamSpool, arrival: datetime, domains: int = 1) -> None:
    place = Deferred(now() + timedelta(hours=1))
    queue_id = new_queue_id(arrival, 0)
    records = [
        record(queue_id, f"b@d{number}.example", number, arrival=arrival)
        for number in range(domains)
    ]
    await store(spool, [Put(each, place) for each in records])


async def test_of_much_mail_the_first_that_was_stored_tells_the_age(spool: JetStreamSpool) -> None:
    two_days, five_days = (now() - timedelta(days=days) for days in (2, 5))
    await defer(spool, two_days)
    await defer(spool, five_days)
    few = await spool.waiting.backlog()
    assert few.oldest[WaitKind.DEFERRED] == five_days.replace(
        microsecond=five_days.microsecond // 1000 * 1000
    )
    await defer(spool, now(), domains=1000)
    much = await spool.waiting.backlog()
    assert much.deferred == 1002
    assert much.oldest[WaitKind.DEFERRED] == two_days
