"""
Makes notifications about failed and delayed recipients, which are queued like other mail.

The queue id of a notification is derived from the record, its step and the reported recipients. So
a settle that is repeated after a crash makes the same notification, and the queue stores it once.
There is no notification to a null reverse-path (RFC 5321 §4.5.5), or against the recipient's NOTIFY
parameter (RFC 3461).
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
    """Makes the notifications of this process."""

    hostname: str

    def notification(
        self,
        record: QueueRecord,
        action: Action,
        recipients: Sequence[QueuedRecipient],
        snapshot: Snapshot | None,
        now: datetime,
    ) -> list[Put]:
        """Return the put of a notification about `recipients`; empty when none is due."""
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
        traffic_class=about.traffic_class,  # a newsletter may cause as many bounces as messages
        pool=about.pool,
        content=content,
    )
    egress_path = egress_path_of(snapshot, record) if snapshot is not None else None
    if egress_path is None:
        return record  # delivery looks for it again
    return replace(
        record,
        deadline=now + egress_path.retry.lifetime,
        pool=egress_path.pool,
        site="" if egress_path.by_mx else egress_path.name,
    )


def _origin(about: QueueRecord, snapshot: Snapshot | None) -> Origin:
    """Return the origin of a notification: that of the mail, else the Domain that it is about."""
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
    """Return the step that a host answered, as words for people; "" if it is unknown."""
    if phase == Phase.GREETING:
        return "in its greeting"
    what = "the message" if phase in (Phase.FINAL_DOT, Phase.CONTENT) else phase
    return f"in answer to {what}" if what else ""


def _original_header(record: QueueRecord) -> bytes:
    if isinstance(record.content, BlobRef):
        return record.header
    return header_block(record.content)
