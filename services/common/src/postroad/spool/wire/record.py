"""
Encodes and decodes the queue's record.

Unknown fields of a newer release are kept and written back, so that old and new processes can share
a queue.
"""

from google.protobuf.message import DecodeError

from postroad.mail.address import Mailbox
from postroad.mail.envelope import DEFAULT_NOTIFY, Body, Notify, Ret
from postroad.mail.traffic import TrafficClass
from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.errors import RecordCorrupt
from postroad.spool.ids import RecordId
from postroad.spool.record import (
    BlobRef,
    Hold,
    LastReply,
    OnHoldExpiry,
    Origin,
    QueuedRecipient,
    QueueRecord,
    RecipientState,
)
from postroad.spool.wire.body import CHUNK_SUBJECTS, body_in, body_out, needs_of
from postroad.spool.wire.bounds import check
from postroad.spool.wire.chosen_site import chosen_in, chosen_out
from postroad.spool.wire.moments import microseconds, moment_of
from postroad.spool.wire.newer import unknown_in

_NOTIFY_SET = 8
_STATES = (RecipientState.PENDING, RecipientState.DELIVERED, RecipientState.BOUNCED)
_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)}
_STATE_OF = dict(enumerate(_STATES))  # protobuf reads any number, negative ones too
_CLASSES = {member.value: member for member in TrafficClass}
_BODIES = {member.value: member for member in Body}


def encode(record: QueueRecord) -> bytes:
    """Encode a record."""
    message = wire.QueueRecord(
        queue_id=record.record_id.queue_id,
        destination=record.record_id.destination,
        domain=record.domain,
        arrival_us=microseconds(record.arrival),
        deadline_us=microseconds(record.deadline),
        recipients=[_recipient_out(recipient) for recipient in record.recipients],
        origin=_origin_out(record.origin),
        body=record.body,
        smtputf8=record.smtputf8,
        traffic_class=record.traffic_class,
        pool=record.pool,
        site=record.site,
        trace=record.trace,
    )
    if record.reverse_path is None:
        message.null_reverse_path = True
    else:
        message.reverse_local_part = record.reverse_path.local_part
        message.reverse_domain = record.reverse_path.domain
    _put_content(record, message)
    _put_rare(record, message)
    _put_progress(record, message)
    return message.SerializeToString() + record.unknown


def _put_content(record: QueueRecord, message: wire.QueueRecord) -> None:
    if isinstance(record.content, BlobRef):
        message.blob.CopyFrom(body_out(record.content))
    else:
        message.content = record.content


def _put_rare(record: QueueRecord, message: wire.QueueRecord) -> None:
    """Write the fields that few records have; a missing field is read as its default."""
    if record.generation:
        message.generation = record.generation
    if record.header:
        message.header = record.header
    if record.requiretls:
        message.requiretls = True
    if record.ret is not None:
        message.ret = record.ret
    if record.envid is not None:
        message.envid, message.has_envid = record.envid, True
    if record.hold is not None:
        message.hold.CopyFrom(_hold_out(record.hold))
    if needs := record.needs | needs_of(record.content):
        message.needs.extend(sorted(needs))
    if record.waits_until is not None:
        message.waits_until_us = microseconds(record.waits_until)


def _put_progress(record: QueueRecord, message: wire.QueueRecord) -> None:
    """Write the state of delivery, which new mail does not have yet."""
    if record.record_id.intake:
        message.intake = record.record_id.intake
    if record.step:
        message.step = record.step
    if record.attempts:
        message.attempts = record.attempts
    if record.lane_moves:
        message.lane_moves = record.lane_moves
    if record.chosen_site is not None:
        message.chosen_site.CopyFrom(chosen_out(record.chosen_site))
    if record.delay_warned:
        message.delay_warned = True
    if record.last_attempt is not None:
        message.last_attempt_us = microseconds(record.last_attempt)
    if record.doubtful_hosts:
        message.doubtful_hosts.extend(record.doubtful_hosts)
    if record.resume_from:
        message.resume_from = record.resume_from
    if record.released is not None:
        message.released_us = microseconds(record.released)
    if record.overtime is not None:
        message.overtime_us = microseconds(record.overtime)


def decode(data: bytes, *, intake: int | None = None) -> QueueRecord:
    """
    Decode a record; RecordCorrupt when the octets are no record.

    `intake` is its sequence if it is read from an intake, whatever the record says itself.
    """
    try:
        record = _record_in(wire.QueueRecord.FromString(data), intake)
        check(record)
    except (DecodeError, ValueError, LookupError, OverflowError) as error:
        raise RecordCorrupt(f"not a queue record: {error}") from error
    return record


def _record_in(message: wire.QueueRecord, intake: int | None) -> QueueRecord:
    reverse_path = None
    if not message.null_reverse_path:
        reverse_path = Mailbox(message.reverse_local_part, message.reverse_domain)
    return QueueRecord(
        record_id=RecordId(
            message.queue_id, message.destination, message.intake if intake is None else intake
        ),
        step=message.step,
        reverse_path=reverse_path,
        recipients=tuple(_recipient_in(recipient) for recipient in message.recipients),
        domain=message.domain,
        arrival=moment_of(message.arrival_us),
        deadline=moment_of(message.deadline_us),
        origin=_origin_in(message.origin),
        body=_BODIES.get(message.body, Body.EIGHT_BIT),
        smtputf8=message.smtputf8,
        requiretls=message.requiretls,
        ret=Ret(message.ret) if message.ret else None,
        envid=message.envid if message.has_envid else None,
        traffic_class=_CLASSES[message.traffic_class],
        pool=message.pool or "default",
        site=message.site,
        trace=message.trace,
        content=body_in(message.blob) if message.HasField("blob") else message.content,
        header=message.header,
        attempts=message.attempts,
        last_attempt=moment_of(message.last_attempt_us) if message.last_attempt_us else None,
        delay_warned=message.delay_warned,
        generation=message.generation,
        lane_moves=message.lane_moves,
        chosen_site=chosen_in(message.chosen_site) if message.HasField("chosen_site") else None,
        hold=_hold_in(message.hold) if message.HasField("hold") else None,
        waits_until=moment_of(message.waits_until_us) if message.waits_until_us else None,
        needs=frozenset(message.needs) - {CHUNK_SUBJECTS},
        doubtful_hosts=tuple(message.doubtful_hosts),
        resume_from=message.resume_from,
        released=moment_of(message.released_us) if message.released_us else None,
        overtime=moment_of(message.overtime_us) if message.overtime_us else None,
        unknown=unknown_in(message),
    )


def _recipient_out(recipient: QueuedRecipient) -> wire.Recipient:
    message = wire.Recipient(
        local_part=recipient.mailbox.local_part,
        domain=recipient.mailbox.domain,
        state=_STATE_NUMBERS[recipient.state],  # type: ignore[arg-type]
    )
    if recipient.notify is not DEFAULT_NOTIFY:
        message.notify = recipient.notify.value | _NOTIFY_SET
    if recipient.orcpt is not None:
        message.orcpt = recipient.orcpt
    if recipient.last is not None:
        last = recipient.last
        message.last.CopyFrom(
            wire.LastReply(
                text=last.text,
                at_us=microseconds(last.at),
                status=last.status,
                host=last.host,
                phase=last.phase,
            )
        )
        if last.unknown:
            message.last.MergeFromString(last.unknown)
    if recipient.unknown:
        message.MergeFromString(recipient.unknown)
    return message


def _recipient_in(message: wire.Recipient) -> QueuedRecipient:
    last = None
    if message.HasField("last"):
        said = message.last
        at, unknown = moment_of(said.at_us), unknown_in(said)
        last = LastReply(said.text, at, said.status, said.host, said.phase, unknown)
    notify = DEFAULT_NOTIFY
    if message.notify & _NOTIFY_SET:
        notify = Notify(message.notify & 7)
    return QueuedRecipient(
        Mailbox(message.local_part, message.domain),
        notify,
        message.orcpt or None,
        _STATE_OF[message.state],
        last,
        unknown_in(message),
    )


def _origin_out(origin: Origin) -> wire.Origin:
    message = wire.Origin(
        client=origin.client or "",
        namespace=origin.namespace,
        peer=origin.peer,
        helo=origin.helo,
        protocol=origin.protocol,
        tags=origin.tags,
        traceparent=origin.traceparent,
    )
    if origin.unknown:
        message.MergeFromString(origin.unknown)
    return message


def _origin_in(message: wire.Origin) -> Origin:
    return Origin(
        message.client or None,
        message.namespace,
        message.peer,
        message.helo,
        message.protocol,
        tuple(message.tags),
        message.traceparent,
        unknown_in(message),
    )


def _hold_in(message: wire.Hold) -> Hold:
    ordered = moment_of(message.ordered_us) if message.ordered_us else None
    on_expiry = OnHoldExpiry(message.on_expiry)
    return Hold(message.reason, on_expiry, message.note, ordered, unknown_in(message))


def _hold_out(hold: Hold) -> wire.Hold:
    message = wire.Hold(
        reason=hold.reason,
        on_expiry=hold.on_expiry,
        note=hold.note,
        ordered_us=microseconds(hold.ordered) if hold.ordered is not None else 0,
    )
    if hold.unknown:
        message.MergeFromString(hold.unknown)
    return message
