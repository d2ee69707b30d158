"""What new mail may say of itself: nothing that only its delivery could know."""

from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.jetstream.consume.poison.suspects import is_unreadable, record_of
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.record import Hold, LastReply, QueuedRecipient, QueueRecord, RecipientState
from postroad.spool.wire.record import decode, encode
from postroad.testing.queue.queued_mail import now
from postroad_harness.setups.spool.odd import WELL, delivered

MAIL = decode(WELL)
HOUR = timedelta(hours=1)
[TO] = MAIL.recipients

HISTORIES = {
    "tried": {"attempts": 1},
    "a later form": {"step": 1},
    "the last later form": {"step": 2**30 - 1},
    "tried an hour ago": {"last_attempt": now() - HOUR},
    "goes on": {"resume_from": 1},
    "warned": {"delay_warned": True},
    "in doubt": {"doubtful_hosts": ("mx.example",)},
    "has overtime": {"overtime": now() + HOUR},
    "released": {"released": now() + 365 * 24 * HOUR},
    "held by order": {"hold": Hold("Admin", ordered=now() + HOUR), "waits_until": now() + HOUR},
    "delivered in part": {
        "recipients": (TO, replace(TO, state=RecipientState.DELIVERED)),
    },
    "answered": {"recipients": (replace(TO, last=LastReply("no", now())),)},
}


def as_new(
    mail: QueueRecord, *, under: QueueRecord | None = None, lane: str = "p00"
) -> QueueRecord:
    """Return what delivery takes new mail for that lies under the subject of some mail."""
    return record_of(delivered(intake_subject(0, under or mail, lane), encode(mail)))


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_new_mail_with_a_history_is_unreadable(history: dict[str, object]) -> None:
    mail = replace(MAIL, **history)  # type: ignore[arg-type]
    found = as_new(mail)
    assert is_unreadable(found)
    assert found.content == encode(mail)
    new = delivered(intake_subject(0, mail, "p00"), encode(mail))
    waited = record_of(replace(new, key=Key(QueueStream.WAITING, 0, 1)))
    assert replace(waited, unknown=b"") == mail


OTHERS = {
    "pool": replace(MAIL, pool="other"),
    "class": replace(MAIL, traffic_class=TrafficClass.BULK),
    "domain": replace(MAIL, domain="other.example"),
    "deferred": replace(MAIL, waits_until=now() + HOUR),
    "held": replace(MAIL, waits_until=now() + HOUR, hold=Hold("Quota")),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_new_mail_under_the_subject_of_other_mail_is_unreadable(other: QueueRecord) -> None:
    """A listing and an order went by the subject, and what followed by the record."""
    assert is_unreadable(as_new(MAIL, under=other))
    assert is_unreadable(as_new(other, under=MAIL))
    assert not is_unreadable(as_new(other))


def test_the_lane_of_new_mail_is_no_reason_to_hold_it() -> None:
    """It is another after a change of the number of lanes; whoever takes it moves it."""
    assert not is_unreadable(as_new(MAIL, lane="p17"))


def test_mail_to_several_recipients_that_a_quota_holds_is_new_mail() -> None:
    hold = {"hold": Hold("Quota"), "waits_until": now() + HOUR}
    mail = replace(MAIL, recipients=(TO, QueuedRecipient(TO.mailbox)), **hold)  # type: ignore[arg-type]
    assert not is_unreadable(as_new(mail))


@pytest.mark.parametrize("ahead", [HOUR, 200 * 365 * 24 * HOUR])
def test_new_mail_arrived_when_it_was_stored_whatever_it_says(ahead: timedelta) -> None:
    """An order does not act on mail that comes after it, and mail leaves as it has come."""
    before = now() - timedelta(seconds=1)
    late, early = (as_new(replace(MAIL, arrival=now() + each)) for each in (ahead, -ahead))
    fresh = replace(MAIL, arrival=before)
    assert before <= late.arrival <= now()
    assert before - timedelta(minutes=10) <= early.arrival <= now() - timedelta(minutes=9)
    assert as_new(fresh).arrival == fresh.arrival
