"""
Telling a sender: failed and delayed recipients as a notification, put into the queue like mail.

A notification's queue id follows from the record, its step and what it reports, so a settle that is
repeated after a crash makes the same one and the queue stores it once. A null reverse-path is never
told anything (RFC 5321 §4.5.5), nor is a sender who asked for silence (NOTIFY, RFC 3461).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from postroad.delivery.routing.egress_paths import egress_path_of
from postroad.mail.dsn import Action, Report, ReportedRecipient, compose
from postroad.mail.envelope import Body, Notify
from postroad.mail.header import header_block
from postroad.mail.status import UNDEFINED_PERMANENT, EnhancedStatus
from postroad.policy.model import RetrySchedule
from postroad.policy.snapshot import Snapshot
from postroad.smtp.client import Phase
from postroad.spool.ids import RecordId, derived_queue_id
from postroad.spool.interface import Put, Ready
from postroad.spool.record import BlobRef, Origin, QueuedRecipient, QueueRecord


@dataclass(frozen=True, slots=True)
class Notifier:
    """What every notification of this process says of itself."""

    hostname: str

    def notification(
        self,
        record: QueueRecord,
        action: Action,
        recipients: Sequence[QueuedRecipient],
        snapshot: Snapshot | None,
        now: datetime,
    ) -> list[Put]:
        """Return the put of a notification about `recipients`; nothing when none is due."""
        wanted = Notify.FAILURE if action is Action.FAILED else Notify.DELAY
        told = [recipient for recipient in recipients if wanted in recipient.notify]
        sender = record.reverse_path
        if sender is None or not told:
            return []
        queue_id = _queue_id(record, action, told)
        report = Report(
            action=action,
            to=sender,
            reporting_mta=self.hostname,
            queue_id=queue_id,
            original_queue_id=record.record_id.queue_id,
            arrival=record.arrival,
            now=now,
            recipients=tuple(_reported(recipient, record.last_attempt) for recipient in told),
            header=record.trace + _original_header(record),
            envid=record.envid,
            will_retry_until=record.deadline if action is Action.DELAYED else None,
        )
        return [Put(_record(record, queue_id, compose(report), snapshot, now), Ready())]


def _record(
    about: QueueRecord, queue_id: str, content: bytes, snapshot: Snapshot | None, now: datetime
) -> QueueRecord:
    assert about.reverse_path is not None
    record = QueueRecord(
        record_id=RecordId(queue_id, 0),
        reverse_path=None,
        recipients=(QueuedRecipient(about.reverse_path, Notify.NEVER),),
        domain=about.reverse_path.domain,
        arrival=now,
        deadline=now + RetrySchedule().lifetime,
        origin=_origin(about, snapshot),
        body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
        smtputf8=about.smtputf8 and not str(about.reverse_path).isascii(),
        traffic_class=about.traffic_class,  # a newsletter's bounces are as many as it is
        pool=about.pool,
        content=content,
    )
    egress_path = egress_path_of(snapshot, record) if snapshot is not None else None
    if egress_path is None:
        return record  # it is looked for again when the notification is taken
    return replace(
        record,
        deadline=now + egress_path.retry.lifetime,
        pool=egress_path.pool,
        site="" if egress_path.by_mx else egress_path.name,
    )


def _origin(about: QueueRecord, snapshot: Snapshot | None) -> Origin:
    """Return whose mail a notification is: the Client's, else the Domain's it is about."""
    namespace = about.origin.namespace
    if not namespace and snapshot is not None and about.domain in snapshot.domains:
        namespace = snapshot.domains[about.domain].key.namespace
    return Origin(
        client=about.origin.client,
        namespace=namespace,
        traceparent=about.origin.traceparent,
    )


def _queue_id(record: QueueRecord, action: Action, recipients: Sequence[QueuedRecipient]) -> str:
    named = "\n".join(sorted(str(recipient.mailbox) for recipient in recipients))
    digest = hashlib.sha256(named.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    origin = f"{record.record_id}.{record.step}.{action}.{digest}"
    return derived_queue_id(record.arrival, record.record_id.shard, origin=origin)


def _reported(recipient: QueuedRecipient, last_attempt: datetime | None) -> ReportedRecipient:
    last = recipient.last
    status = EnhancedStatus.parse(last.status) if last and last.status else UNDEFINED_PERMANENT
    return ReportedRecipient(
        mailbox=recipient.mailbox,
        status=status,
        diagnostic=last.text if last else "unknown",
        original=recipient.orcpt,
        remote_mta=last.host if last else "",
        answering=_answering(last.phase) if last else "",
        last_attempt=last_attempt,
    )


def _answering(phase: str) -> str:
    """Return for people when a host said what it did; "" where that is not known."""
    if phase == Phase.GREETING:
        return "in its greeting"
    what = "the message" if phase in (Phase.FINAL_DOT, Phase.CONTENT) else phase
    return f"in answer to {what}" if what else ""


def _original_header(record: QueueRecord) -> bytes:
    if isinstance(record.content, BlobRef):
        return record.header
    return header_block(record.content)
