"""A record whose acknowledgement the server has lost ends when it comes again, undelivered."""

import asyncio
from typing import Any

import pytest

from postroad.spool.interface import LeasedRecord
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.nats.requests import Requests
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.queue.queued_mail import first, put, take, until

pytestmark = pytest.mark.nats


def lose_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose an acknowledgement that was answered, as a server does that is killed then."""
    begin = Requests.begin

    def lossy(self: Requests, subject: str, data: bytes = b"", **more: Any) -> Any:
        if data != b"+ACK":
            return begin(self, subject, data, **more)
        monkeypatch.undo()
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(Incoming(subject, "", b"", b""))
        return answer

    monkeypatch.setattr(Requests, "begin", lossy)


async def test_a_record_that_comes_again_after_its_end_is_ended_and_not_delivered(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever has its lane next would deliver it a second time."""
    await put(spool)
    consumer, again = take(spool), list[LeasedRecord]()
    [leased] = await first(consumer, 1)
    lose_the_next_one(monkeypatch)
    assert await consumer.settle(leased)

    async def watch() -> None:
        async for one in consumer:
            again.append(one)

    watching = asyncio.create_task(watch())
    await until(spool)  # nothing is in the queue
    watching.cancel()
    assert again == []
    await consumer.close()
