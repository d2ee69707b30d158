"""Ids, subjects, lanes and message ids: their guarantees hold for any text."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Mailbox
from postroad.spool.ids import (
    RecordId,
    arrival_of,
    derived_queue_id,
    new_queue_id,
    shard_of,
)
from postroad.spool.interface import Deferred, Held, Put, QueueState, Ready
from postroad.spool.jetstream.streams.subjects import (
    ReadySubject,
    WaitingSubject,
    domain_of,
    domain_token,
    intake_subject,
    parse,
    pool_of,
    ready_subject,
    waiting_subject,
)
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.lanes.lane import fnv1a32, in_rows, lane_of
from postroad.spool.puts.message_id import message_id
from postroad.spool.record import QUOTA, Hold, QueuedRecipient, RecipientState
from postroad.spool.selection import WaitKind
from postroad.testing.queue.queued_mail import record

NOW = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
DUE, READY, KEPT = Deferred(LATER), Ready(), Held(LATER)


@given(shard=st.integers(0, 255), seconds=st.floats(0, 4e9, allow_nan=False))
def test_a_queue_id_carries_its_shard_and_moment(shard: int, seconds: float) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    queue_id = new_queue_id(moment, shard)
    assert len(queue_id) == 26
    assert shard_of(queue_id) == shard
    assert abs(arrival_of(queue_id) - moment) <= timedelta(milliseconds=1)


def test_queue_ids_sort_by_arrival_and_differ() -> None:
    ids = [new_queue_id(NOW + timedelta(milliseconds=n), 255 - n) for n in range(50)]
    assert ids == sorted(ids)
    assert len({new_queue_id(NOW, 1) for _ in range(1000)}) == 1000


def test_nobody_can_tell_the_next_queue_id_from_the_last_ones() -> None:
    """Python's generator can be computed from 278 ids, which a client of the process is told."""
    state = random.getstate()
    found = []
    for _ in range(2):
        random.setstate(state)
        found.append(new_queue_id(NOW, 1))
    assert found[0] != found[1]


def test_a_derived_id_is_the_same_for_the_same_cause() -> None:
    ids = {derived_queue_id(NOW, 3, origin=origin) for origin in ("a", "a", "b")}
    assert len(ids) == 2
    assert {shard_of(queue_id) for queue_id in ids} == {3}


@pytest.mark.parametrize("text", ["", "short", "U" * 26, "0" * 26, "0" * 26 + "-", "0" * 26 + "-x"])
def test_what_is_no_record_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        RecordId.parse(text)


def test_a_record_id_is_read_as_it_is_written() -> None:
    known = RecordId(new_queue_id(NOW, 7), 12)
    assert RecordId.parse(str(known)) == known
    assert known.shard == 7


ID = RecordId(new_queue_id(NOW, 7), 12)
FOREIGN = ["pr.q.0.z.x", "pr.q.0.r.short", "pr.q.0.r.p.express.l.d.i.more", "pr.q.0.s.l.d"]
FOREIGN += [
    "pr.q.0.r.p.nobulk.l.d",
    "pr.q.0.r.p.express.l.\u5d00",
    "pr.q.0.h.l.\u5d00.x",
    "pr.i.0.z.p.x.l.d",
    "pr.i.0.r.p.nobulk.l.d",
    "pr.i.0.h.\u5d00.x.l.d",
    "pr.i.0.r.p.x.l.d.id",
    "pr.b.0.x",
    "",
]


@pytest.mark.parametrize("subject", FOREIGN)
def test_a_subject_of_another_form_says_nothing(subject: str) -> None:
    assert parse(subject) is None


@pytest.mark.parametrize("by_id", [True, False])
def test_a_subject_says_what_it_was_made_of(by_id: bool) -> None:
    mail = record(ID.queue_id, "b@d-1.example", ID.destination)
    subject = ready_subject(7, mail, "l3", by_id=by_id)
    assert parse(subject) == ReadySubject(mail.pool, mail.traffic_class, "d-1.example")
    subject = waiting_subject(7, WaitKind.HELD, ID, "d-1.example", "l3")
    assert parse(subject) == WaitingSubject(WaitKind.HELD, "d-1.example", NOW)


def test_a_subject_of_new_mail_says_what_it_will_be() -> None:
    mail = record(ID.queue_id, "b@d-1.example", ID.destination)
    subject = intake_subject(7, mail, "l3")
    assert parse(subject) == ReadySubject(mail.pool, mail.traffic_class, "d-1.example")
    held = intake_subject(7, replace(mail, hold=Hold(QUOTA), waits_until=NOW), "l3")
    later = intake_subject(7, replace(mail, waits_until=NOW), "l3")
    assert parse(held) == WaitingSubject(WaitKind.HELD, "d-1.example", None)
    assert parse(later) == WaitingSubject(WaitKind.DEFERRED, "d-1.example", None)
    assert {pool_of(each) for each in (subject, held, later)} == {mail.pool}


@pytest.mark.parametrize("last", ["gone", "7" + "Z" * 25 + "-1"])  # the second lies in year 10889
def test_a_waiting_subject_without_an_id_has_no_arrival(last: str) -> None:
    said = parse(f"pr.q.0.s.l.d_example.{last}")
    assert said == WaitingSubject(WaitKind.DEFERRED, "d.example", None)


@given(domain=st.text(max_size=60))
def test_any_domain_is_one_safe_token_and_comes_back(domain: str) -> None:
    token = domain_token(domain)
    assert not set(token) & set(". *>\t\r\n\0")
    assert token.isascii()
    assert domain_of(token) == domain


@given(one=st.text(max_size=20), other=st.text(max_size=20))
def test_two_domains_never_share_a_token(one: str, other: str) -> None:
    assert (domain_token(one) == domain_token(other)) == (one == other)


def test_a_record_is_named_as_in_the_queues_of_older_releases() -> None:
    assert key(7).token == "7"
    assert Key.parse(1, "7") == key(7)
    new = Key(QueueStream.INTAKE, 1, 7)
    assert Key.parse(1, new.token) == new
    put = Put(BASE, DUE)
    assert message_id(put, "p01", new) != message_id(put, "p01", key(7))


@pytest.mark.parametrize(
    "token", ["", "0", "-1", "7.1", "x7", "\u0667", "7 ", "i", "i0", "ii7", "q7"]
)
def test_what_names_no_record_is_no_key(token: str) -> None:
    assert Key.parse(1, token) is None


def test_no_id_is_in_a_ready_subject() -> None:
    one, other = (record(new_queue_id(NOW, 1)) for _ in range(2))
    assert ready_subject(1, one, "p03") == ready_subject(1, other, "p03")


@pytest.mark.parametrize(
    ("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)]
)
def test_the_hash_is_the_published_one(text: str, value: int) -> None:
    assert fnv1a32(text) == value


def test_the_lane_is_that_of_the_site_once_it_is_known() -> None:
    of_domain = record(new_queue_id(NOW, 1), "b@a.example")
    elsewhere = record(new_queue_id(NOW, 1), "b@b.example", site="a.example")
    assert lane_of(of_domain, 32) == lane_of(elsewhere, 32)


QUEUE_ID = new_queue_id(NOW, 1)


def key(sequence: int) -> Key:
    return Key(QueueStream.WAITING, 1, sequence)


BASE = record(
    QUEUE_ID,
    recipients=(
        QueuedRecipient(Mailbox("a", "y.example")),
        QueuedRecipient(Mailbox("b", "y.example")),
    ),
)
DONE = (
    QueuedRecipient(Mailbox("a", "y.example"), state=RecipientState.DELIVERED),
    BASE.recipients[1],
)


@pytest.mark.parametrize(
    ("changes", "place", "lane", "origin"),
    [
        ({"recipients": DONE}, DUE, "p01", 7),
        ({"recipients": BASE.recipients[1:]}, DUE, "p01", 7),
        ({"step": 1}, DUE, "p01", 7),
        ({"pool": "other"}, DUE, "p01", 7),
        ({}, READY, "p01", 7),
        ({}, KEPT, "p01", 7),
        ({}, DUE, "p02", 7),
        ({}, DUE, "p01", 8),
    ],
)
def test_another_consequence_has_another_message_id(
    changes: dict[str, object], place: QueueState, lane: str, origin: int
) -> None:
    usual = message_id(Put(BASE, DUE), "p01", key(7))
    other = replace(BASE, **changes)  # type: ignore[arg-type]
    assert message_id(Put(other, place), lane, key(origin)) != usual


def test_the_same_consequence_at_another_time_has_the_same_message_id() -> None:
    again = record(QUEUE_ID, recipients=BASE.recipients, attempts=4)
    later = Deferred(LATER + timedelta(minutes=3))
    assert message_id(Put(BASE, DUE), "p01", key(7)) == message_id(Put(again, later), "p01", key(7))


@pytest.mark.parametrize(
    ("lanes", "shown"),
    [
        (["p00"], "p00"),
        (["p01", "p00"], "p00-p01"),
        (["p07", "p00", "p02", "p01", "p12", "p08"], "p00-p02 p07-p08 p12"),
        (["p99", "p100"], "p99-p100"),
        ([], ""),
    ],
)
def test_lanes_are_shown_in_rows(lanes: list[str], shown: str) -> None:
    assert in_rows(lanes) == shown
