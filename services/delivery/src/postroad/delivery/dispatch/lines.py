"""
The log lines of delivery: `delivered`, `deferred` and `bounced`, one line for each recipient.

Mail administrators search for these lines, so each has all that they need: the sender, the next
hop, the delay and the reply.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from postroad.delivery.attempt.attempt import AttemptResult
from postroad.delivery.outcome import Outcome, OutcomeKind
from postroad.delivery.settling.settlement import Settlement
from postroad.policy.model import EgressPath
from postroad.smtp_client.peer import Peer
from postroad.spool.agreement import Order
from postroad.spool.event import Event, EventType
from postroad.spool.record import QueuedRecipient, QueueRecord
from postroad.telemetry import tracing
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_WORDS = {
    OutcomeKind.DELIVERED: "delivered",
    OutcomeKind.DEFERRED: "deferred",
    OutcomeKind.BOUNCED: "bounced",
}
_NAMED = 5  # the most recipients in one line


def tell_attempt(
    record: QueueRecord, egress_path: EgressPath, ended: AttemptResult, now: datetime
) -> None:
    """Log the outcome of an attempt for each recipient."""
    whose, rest = _whose(record), _rest(record, now)
    rest["relay_object"] = relay_object(egress_path)
    rest["attempt"] = record.attempts + 1
    for number, outcome in ended.outcomes.items():
        fields = {**whose, "to": str(record.recipients[number].mailbox)}
        if outcome.host:
            fields["relay"] = _relay(outcome, ended.peers)
        fields["dsn"] = str(outcome.status)
        fields["reply"] = outcome.text
        if outcome.phase and outcome.kind is not OutcomeKind.DELIVERED:
            fields["phase"] = outcome.phase
        if outcome.tls:
            fields["tls"] = outcome.tls
        log.info(_WORDS[outcome.kind], **fields, **rest)


def tell_settlement(record: QueueRecord, settlement: Settlement, *, attempted: bool) -> None:
    """
    Log what follows: recipients that bounce without a host's refusal, and notifications.

    If there was no attempt, deferred recipients are logged here, too.
    """
    for event in settlement.events:
        if event.type is EventType.EXPIRATION:
            _tell_expired(record, event, settlement.expired)
        elif event.type is EventType.ADMIN_BOUNCE:
            _tell_all("bounced", record, event, reason=event.reason)
        elif event.type is EventType.TRANSIENT_FAILURE and not attempted:
            _tell_all("deferred", record, event, reply=event.reply)
    queue_id = record.record_id.queue_id
    for put in settlement.puts:
        notification = put.record.record_id.queue_id
        if notification != queue_id:
            to = str(put.record.recipients[0].mailbox)
            log.info("notified", queue_id=queue_id, to=to, notification=notification)


def tell_order(record: QueueRecord, order: Order) -> None:
    """Log that an order acts on a record, and on which recipients."""
    concerned = [str(each.mailbox) for each in record.pending if order.acts_on(each)]
    log.info(
        "ordered",
        queue_id=record.record_id.queue_id,
        to=",".join(concerned[:_NAMED]),
        order=order.action,
        reason=order.said,
    )


def _tell_expired(record: QueueRecord, event: Event, expired: Iterable[QueuedRecipient]) -> None:
    whose, rest = _whose(record), _rest(record, event.at)
    for each in expired:
        dsn = each.last.status if each.last is not None else ""
        log.info("bounced", **whose, to=str(each.mailbox), reason=event.reason, dsn=dsn, **rest)


def _tell_all(word: str, record: QueueRecord, event: Event, **said: str) -> None:
    whose, rest = _whose(record), _rest(record, event.at)
    for recipient in event.recipients:
        log.info(word, **whose, to=recipient, **said, **rest)


def relay_object(egress_path: EgressPath) -> str:
    """Return the Relay's name, or `domain:` and the name of the Domain whose route is used."""
    return egress_path.name.removeprefix("relay:")


def _whose(record: QueueRecord) -> dict[str, object]:
    return {"queue_id": record.record_id.queue_id, "from": str(record.reverse_path or "")}


def _rest(record: QueueRecord, now: datetime) -> dict[str, object]:
    origin = record.origin
    fields: dict[str, object] = {
        "delay": round((now - record.arrival).total_seconds(), 3),
        "size": record.size,
    }
    if origin.client:
        fields["client"] = origin.client
    trace_id = tracing.trace_id_of(origin.traceparent)
    if trace_id:
        fields["trace_id"] = trace_id
    return fields


def _relay(outcome: Outcome, peers: Mapping[str, Peer]) -> str:
    peer = peers.get(outcome.host)
    return f"{peer.host}[{peer.address}]:{peer.port}" if peer is not None else outcome.host
