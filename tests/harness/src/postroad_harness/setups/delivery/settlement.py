"""A record, its attempts and what follows from them, for tests of settlement."""

import email
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import cast

from postroad.delivery.outcome import Outcome, of_reply
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.settling.happening import Attempted
from postroad.delivery.settling.settlement import Settlement, SettlementContext, settle
from postroad.mail.address import parse_mailbox
from postroad.policy.model import RetrySchedule
from postroad.smtp.reply import Reply
from postroad.spool.agreement import Order
from postroad.spool.ids import new_queue_id
from postroad.spool.interface import Deferred, Put, Ready
from postroad.spool.record import (
    QueuedRecipient,
    QueueRecord,
)
from postroad.spool.selection import Selection
from postroad.testing.queue.queued_mail import record as queued

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUEUE_ID = new_queue_id(NOW, 3)
TO = ("b@y.example", "c@y.example", "d@y.example")
DELIVERED = of_reply(Reply.of(250, "2.0.0", "taken"), host="mx.y.example")
DEFERRED = of_reply(Reply.of(451, "4.7.1", "later"), host="mx.y.example")
BOUNCED = of_reply(Reply.of(550, "5.1.1", "no such user"), host="mx.y.example")


def message(*to: str, **more: object) -> QueueRecord:
    recipients = tuple(QueuedRecipient(parse_mailbox(address)) for address in to or TO)
    fields: dict[str, object] = {
        "recipients": recipients,
        "arrival": NOW - HOUR,
        "deadline": NOW + 24 * HOUR,
        "content": b"Subject: lunch\r\n\r\nsecret\r\n",
    }
    return queued(QUEUE_ID, **(fields | more))  # type: ignore[arg-type]


def at(now: datetime = NOW, **schedule: object) -> SettlementContext:
    retry = replace(RetrySchedule(), **schedule)  # type: ignore[arg-type]
    notifier = Notifier("relay.example")
    return SettlementContext(retry, notifier, None, "p", now, random.Random(1))


def after(record: QueueRecord, outcomes: dict[int, Outcome], when: SettlementContext) -> Settlement:
    return settle(record, Attempted(outcomes, "site", "192.0.2.1"), when)


def again(settlement: Settlement) -> Put | None:
    found = [put for put in settlement.puts if isinstance(put.place, Deferred)]
    assert len(found) <= 1
    return found[0] if found else None


def report(settlement: Settlement) -> tuple[QueueRecord, list[Message]] | None:
    """Return the notification that is put, and its blocks of fields about recipients."""
    found = [put for put in settlement.puts if put.record.reverse_path is None]
    assert len(found) <= 1
    if not found:
        return None
    assert isinstance(found[0].place, Ready)
    octets = cast(bytes, found[0].record.content)
    status = cast(list[Message], email.message_from_bytes(octets).get_payload())[1]
    return found[0].record, cast(list[Message], status.get_payload())[1:]


def told(settlement: Settlement) -> list[str]:
    found = report(settlement)
    return [str(block["Final-Recipient"])[8:] for block in found[1]] if found else []


def an_order(action: str, reason: str) -> Order:
    return Order("order", action, Selection(), NOW, NOW + timedelta(hours=1), NOW, reason)
