"""Without room, a record goes back unchanged only if no mail is lost or sent twice by that."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.address import parse_mailbox
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.capacity import Capacity
from postroad.spool.record import QueuedRecipient, QueueRecord, RecipientState
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import first, kinds, now, put, record, take

pytestmark = pytest.mark.nats

ONE, OTHER = (QueuedRecipient(parse_mailbox(f"{name}@y.example")) for name in "bc")
LATER = Deferred(now() + timedelta(hours=1))


def nobody_got_it(former: QueueRecord) -> list[Put]:
    return [Put(former.next_step(), LATER)]


def one_got_it(former: QueueRecord) -> list[Put]:
    got = replace(ONE, state=RecipientState.DELIVERED)
    return [Put(former.next_step(recipients=(got, OTHER)), LATER)]


def one_bounced(former: QueueRecord) -> list[Put]:
    bounced = replace(ONE, state=RecipientState.BOUNCED)
    report = record(former.record_id.queue_id, "a@x.example", 1, reverse_path=None)
    return [
        Put(former.next_step(recipients=(bounced, OTHER)), LATER),
        Put(report, Ready()),
    ]


@pytest.mark.parametrize(
    ("follows", "left"),
    [
        (nobody_got_it, [WaitKind.READY]),
        (one_got_it, [WaitKind.DEFERRED]),
        (one_bounced, [WaitKind.READY, WaitKind.DEFERRED]),
    ],
)
async def test_what_has_become_of_a_recipient_is_stored_though_the_disk_is_nearly_full(
    spool: JetStreamSpool,
    monkeypatch: pytest.MonkeyPatch,
    follows: Callable[[QueueRecord], list[Put]],
    left: list[WaitKind],
) -> None:
    await put(spool, recipients=(ONE, OTHER))
    consumer = take(spool)
    [leased] = await first(consumer, 1)
    monkeypatch.setattr(Capacity, "exhausted", True)
    async with asyncio.timeout(patient(10)):
        stored = await consumer.settle(leased, follows(leased.record))
    assert stored == (follows is not nobody_got_it)
    assert await kinds(spool) == sorted(left)
    await consumer.close()
