"""
Decides what follows from an attempt: the record's next form, notifications, events. No I/O.

From the recipients' outcomes it decides which are done, which are retried and when, which are given
up, and what the sender is told. The result is what a settle stores. The same input gives the same
message ids, so a repeated settle is stored once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from postroad.delivery.outcome import Outcome, OutcomeKind, cut, most_text
from postroad.delivery.settling.dsn import Notifier
from postroad.delivery.settling.given_up import NOT_TRIED, end, everybody
from postroad.delivery.settling.happening import Attempted, event_about
from postroad.delivery.settling.retry import OVERTIME, in_time, next_try, warns
from postroad.mail.dsn import Action
from postroad.mail.status import DELIVERY_EXPIRED, EnhancedStatus
from postroad.mail.valueclass import valueclass
from postroad.policy.model import RetrySchedule
from postroad.policy.snapshot import Snapshot
from postroad.spool.event import Event, EventType
from postroad.spool.interface import Deferred, Put, QueueState, Ready, held
from postroad.spool.record import Hold, LastReply, QueuedRecipient, QueueRecord, RecipientState

_TYPES = {
    OutcomeKind.DELIVERED: EventType.DELIVERY,
    OutcomeKind.DEFERRED: EventType.TRANSIENT_FAILURE,
    OutcomeKind.BOUNCED: EventType.BOUNCE,
}
_STATES = {
    OutcomeKind.DELIVERED: RecipientState.DELIVERED,
    OutcomeKind.DEFERRED: RecipientState.PENDING,
    OutcomeKind.BOUNCED: RecipientState.BOUNCED,
}

_DOUBTFUL = 10  # doubtful hosts of a record that are remembered

AT_ONCE = Ready()
NOTHING = Attempted({}, "")  # stands for no attempt


@valueclass(frozen=True, slots=True)
class Settlement:
    """The puts to store and the events to write; who has expired, with what they are told."""

    puts: tuple[Put, ...]
    events: tuple[Event, ...]
    expired: tuple[QueuedRecipient, ...] = ()


@valueclass(frozen=True, slots=True)
class SettlementContext:
    """What a settlement depends on besides the attempt."""

    schedule: RetrySchedule
    notifier: Notifier
    snapshot: Snapshot | None
    process: str
    now: datetime
    dice: random.Random


def settle(record: QueueRecord, attempted: Attempted, at: SettlementContext) -> Settlement:
    """Return what follows from an attempt at a record."""
    attempts = record.attempts + 1
    events = _outcome_events(record, attempted, at)
    outcomes = attempted.outcomes
    if len(outcomes) == len(record.recipients) and all(
        outcome.kind is OutcomeKind.DELIVERED for outcome in outcomes.values()
    ):
        return Settlement((), tuple(events))  # the usual case
    tried, newly_bounced = _taken_down(record, attempted, at.now)
    tried = replace(
        tried, last_attempt=at.now, site=attempted.site, resume_from=attempted.resume_from
    )
    if attempted.resume_from:
        return _go_on_at_once(tried, at, newly_bounced, events)
    tried = replace(tried, attempts=attempts)
    due = next_try(
        at.schedule, attempts=attempts, deadline=record.deadline, now=at.now, dice=at.dice
    )
    return _go_on(tried, due, at, newly_bounced, events)


def _taken_down(
    record: QueueRecord, attempted: Attempted, now: datetime
) -> tuple[QueueRecord, list[QueuedRecipient]]:
    """Return the record with its recipients' outcomes, and the recipients that have bounced."""
    most = most_text(len(record.recipients))
    recipients = tuple(
        _after(recipient, attempted.outcomes.get(number), now, most)
        for number, recipient in enumerate(record.recipients)
    )
    newly_bounced = [
        recipients[number]
        for number, outcome in attempted.outcomes.items()
        if outcome.kind is OutcomeKind.BOUNCED
    ]
    doubtful = dict.fromkeys(each.host for each in attempted.outcomes.values() if each.ambiguous)
    if doubtful:
        before = (host for host in record.doubtful_hosts if host not in doubtful)
        record = replace(record, doubtful_hosts=(*before, *doubtful)[-_DOUBTFUL:])
    return replace(record, recipients=recipients), newly_bounced


def _go_on(
    record: QueueRecord,
    due: datetime | None,
    at: SettlementContext,
    newly_bounced: list[QueuedRecipient],
    events: list[Event],
    told: str = "expired",
    status: EnhancedStatus | None = None,
) -> Settlement:
    """
    Return what follows for the pending and bounced recipients, and for their sender.

    If `due` is None, the pending recipients have expired, and the sender is `told`, with `status`
    or that of the last reply for each.
    """
    expired: list[QueuedRecipient] = []
    if due is None and record.pending:
        record, expired = end(record, everybody, told, status, at.now)
        newly_bounced = newly_bounced + expired
        events.append(event_about(EventType.EXPIRATION, record, expired, at, reason="expired"))
    puts: list[Put] = []
    if record.pending and due is not None:
        record, warning = _warn(record, at, events)
        puts.append(Put(_next(record), Deferred(due)))
        puts += warning
    if newly_bounced:
        puts += at.notifier.notification(record, Action.FAILED, newly_bounced, at.snapshot, at.now)
    return Settlement(tuple(puts), tuple(events), tuple(expired))


def _go_on_at_once(
    record: QueueRecord,
    at: SettlementContext,
    newly_bounced: list[QueuedRecipient],
    events: list[Event],
) -> Settlement:
    """Return what follows if an attempt has recipients left: the next form continues it."""
    puts = [Put(_next(record), Ready())]
    if newly_bounced:
        puts += at.notifier.notification(record, Action.FAILED, newly_bounced, at.snapshot, at.now)
    return Settlement(tuple(puts), tuple(events))


def put_off(
    record: QueueRecord,
    wait: timedelta,
    site: str,
    reason: str,
    at: SettlementContext,
    known: Attempted = NOTHING,
    *,
    expires: bool = True,
    status: EnhancedStatus = NOT_TRIED,
) -> Settlement:
    """
    Return what follows when a record is not tried now, for a reason that is not the mail's.

    There was no attempt, or an interrupted one with the outcomes in `known`. So the retry schedule
    does not advance; a delay warning is sent as after an attempt. After its deadline the record
    waits for a last try, for OVERTIME if it `expires`, else for as long as it takes. `status` is
    for recipients without a reply.
    """
    events = _outcome_events(record, known, at)
    record, newly_bounced = _taken_down(record, known, at.now)
    why = LastReply(cut(reason, most_text(len(record.recipients))), at.now, str(status))
    recipients = tuple(
        replace(each, last=why)
        if each.last is None and each.state is RecipientState.PENDING
        else each
        for each in record.recipients
    )
    waiting = replace(record, recipients=recipients, site=site)
    waiting, due = _due(waiting, at.now + wait, at.now, expires=expires)
    return _go_on(waiting, due, at, newly_bounced, events)


def _due(
    record: QueueRecord, due: datetime, now: datetime, *, expires: bool
) -> tuple[QueueRecord, datetime | None]:
    """Return the waiting record, and when it is due; None to give up."""
    if now < record.deadline:
        return record, in_time(due, deadline=record.deadline, now=now) if expires else due
    if not expires:
        return replace(record, overtime=due + OVERTIME), due
    overtime = record.overtime or now + OVERTIME
    return replace(record, overtime=overtime), min(due, overtime) if now < overtime else None


def expire(record: QueueRecord, why: str, at: SettlementContext) -> Settlement:
    """Return what follows when a record expires while it is not tried; `why` says why it is not."""
    return _go_on(record, None, at, [], [], f"expired, {why}", DELIVERY_EXPIRED)


def hold(
    record: QueueRecord, why: Hold, said: str, at: SettlementContext, known: Attempted = NOTHING
) -> Settlement:
    """Return what follows when a record is held, after the outcomes in `known`."""
    events = _outcome_events(record, known, at)
    record, newly_bounced = _taken_down(record, known, at.now)
    events.append(event_about(EventType.HELD, record, record.pending, at, reason=said))
    puts = [held(record, why, now=at.now)]
    if newly_bounced:
        puts += at.notifier.notification(record, Action.FAILED, newly_bounced, at.snapshot, at.now)
    return Settlement(tuple(puts), tuple(events))


@dataclass(frozen=True, slots=True)
class GivenUp:
    """
    Why mail is ended without an attempt: `reason` for the history, `told` for the sender.

    With `silent` there is no notification.
    """

    kind: EventType
    reason: str
    told: str
    status: EnhancedStatus
    silent: bool = False


def give_up(
    record: QueueRecord,
    why: GivenUp,
    at: SettlementContext,
    meant: Callable[[QueuedRecipient], bool] = everybody,
    place: QueueState = AT_ONCE,
) -> Settlement:
    """
    Return what follows when mail is ended, by an order or at the end of its hold.

    It ends for the pending recipients that `meant` selects. If there are others, the record goes on
    with them in the state `place`.
    """
    rest, ended = end(record, meant, why.told, why.status, at.now)
    events = (event_about(why.kind, record, ended, at, reason=why.reason),)
    puts = [Put(rest.next_step(), place)] if rest.pending else []
    if not why.silent:
        puts += at.notifier.notification(record, Action.FAILED, ended, at.snapshot, at.now)
    expired = tuple(ended) if why.kind is EventType.EXPIRATION else ()
    return Settlement(tuple(puts), events, expired)


def _after(
    recipient: QueuedRecipient, outcome: Outcome | None, now: datetime, most: int
) -> QueuedRecipient:
    if outcome is None:
        return recipient
    # A report must not quote a host that did not answer.
    host, phase = (outcome.host, outcome.phase) if outcome.answered else ("", "")
    last = LastReply(cut(outcome.text, most), now, str(outcome.status), host, phase)
    return replace(recipient, state=_STATES[outcome.kind], last=last)


def _next(record: QueueRecord) -> QueueRecord:
    return record.next_step(lane_moves=0, chosen_site=None, hold=None)


def _warn(
    record: QueueRecord, at: SettlementContext, events: list[Event]
) -> tuple[QueueRecord, list[Put]]:
    warned = record.delay_warned or at.now >= record.deadline
    if not warns(at.schedule, arrival=record.arrival, warned=warned, now=at.now):
        return record, []
    puts = at.notifier.notification(record, Action.DELAYED, record.pending, at.snapshot, at.now)
    if puts:
        events.append(event_about(EventType.DELAYED, record, record.pending, at, reason="delayed"))
    return replace(record, delay_warned=True), puts


def _outcome_events(
    record: QueueRecord, attempted: Attempted, at: SettlementContext
) -> list[Event]:
    """Return one event for each distinct outcome, with all its recipients."""
    groups: dict[Outcome, list[QueuedRecipient]] = {}
    for number, outcome in attempted.outcomes.items():
        groups.setdefault(outcome, []).append(record.recipients[number])
    return [
        event_about(
            _TYPES[outcome.kind], record, recipients, at, outcome=outcome, attempted=attempted
        )
        for outcome, recipients in groups.items()
    ]
