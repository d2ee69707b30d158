"""Results that cannot be stored for long: by then another process may have the record."""

import pytest

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import Deferred, Put
from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import WaitKind
from postroad.testing.queue.queued_mail import SECOND, first, kinds, now, put, take

pytestmark = pytest.mark.nats


async def test_no_deferral_is_stored_when_the_lease_has_run_out_between_two_tries(
    spool: JetStreamSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would bring the mail back that another process delivers."""
    leases = [True, False]

    async def unanswered(*_: object, **__: object) -> int:
        monkeypatch.undo()
        monkeypatch.setattr(Leases, "confirm", confirmed)
        raise SpoolUnavailable("no answer")

    async def confirmed(*_: object) -> bool:
        return leases.pop(0)

    await put(spool)
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    monkeypatch.setattr(Leases, "confirm", confirmed)
    monkeypatch.setattr(Publisher, "publish", unanswered)
    later = Deferred(now() + 3600 * SECOND)
    assert not await consumer.settle(leased, [Put(leased.record.next_step(), later)])
    assert await kinds(spool) == [WaitKind.READY], "it comes again as it was"
    await consumer.close()
