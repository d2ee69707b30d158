"""Records are encoded and decoded unchanged, also from other releases; garbage is detected."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.mail.address import Mailbox
from postroad.mail.envelope import Body, Notify, Ret
from postroad.mail.traffic import TrafficClass
from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.errors import RecordCorrupt
from postroad.spool.ids import RecordId, derived_queue_id, new_queue_id
from postroad.spool.record import (
    BlobRef,
    ChosenSite,
    Hold,
    LastReply,
    OnHoldExpiry,
    Origin,
    QueuedRecipient,
    QueueRecord,
    RecipientState,
)
from postroad.spool.wire.record import decode, encode
from postroad.testing.queue.queued_mail import record as queued

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
QUEUE_ID = new_queue_id(MOMENT, 1)
BODY_ID = "b" * 32
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001
    lambda naive: naive.replace(tzinfo=UTC)
)
mailboxes = st.builds(Mailbox, text.filter(bool), text.filter(bool))
replies = st.builds(LastReply, text, moments, text, text, text)
recipients = st.builds(
    QueuedRecipient,
    mailboxes,
    notify=st.integers(0, 7).map(Notify),
    orcpt=st.none() | text.filter(bool),
    state=st.sampled_from(RecipientState),
    last=st.none() | replies,
)
blobs = st.builds(
    BlobRef,
    st.integers(0, 255),
    st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    st.integers(0, 1000),
    st.integers(0, 2**40 - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 1000),
    st.booleans(),
)
addresses = st.lists(st.ip_addresses().map(str), max_size=2).map(tuple)
chosen_sites = st.builds(
    ChosenSite,
    text,
    st.lists(st.tuples(text, addresses), max_size=2).map(tuple),
    moments,
    st.integers(0, 10),
)
record_fields: dict[str, Any] = {
    "record_id": st.builds(
        RecordId,
        st.builds(derived_queue_id, moments, st.integers(0, 255), origin=text),
        st.integers(0, 10_000),
        st.integers(0, 2**63),
    ),
    "step": st.integers(0, 1000),
    "reverse_path": st.none() | mailboxes,
    "recipients": st.lists(recipients, min_size=1, max_size=3).map(tuple),
    "domain": text.filter(bool),
    "arrival": moments,
    "deadline": moments,
    "origin": st.builds(
        Origin,
        client=st.none() | text.filter(bool),
        namespace=text,
        peer=text,
        helo=text,
        protocol=text.filter(bool),
        tags=st.lists(text, max_size=3).map(tuple),
        traceparent=text,
    ),
    "body": st.sampled_from(Body),
    "smtputf8": st.booleans(),
    "requiretls": st.booleans(),
    "ret": st.none() | st.sampled_from(Ret),
    "envid": st.none() | text.filter(bool),
    "traffic_class": st.sampled_from(TrafficClass),
    "pool": st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
    "site": text,
    "trace": st.binary(max_size=40),
    "content": st.binary(max_size=40) | blobs,
    "header": st.binary(max_size=40),
    "attempts": st.integers(0, 1000),
    "last_attempt": st.none() | moments,
    "delay_warned": st.booleans(),
    "lane_moves": st.integers(0, 3),
    "chosen_site": st.none() | chosen_sites,
    "generation": st.integers(0, 2**40),
    "hold": st.none()
    | st.builds(Hold, text.filter(bool), st.sampled_from(OnHoldExpiry), text, st.none() | moments),
    "waits_until": st.none() | moments,
    "needs": st.frozensets(text.filter(bool), max_size=2),
    "resume_from": st.integers(0, 1000),
    "released": st.none() | moments,
    "overtime": st.none() | moments,
    "doubtful_hosts": st.lists(text.filter(bool), max_size=2).map(tuple),
}
records = st.builds(QueueRecord, **record_fields)


@settings(max_examples=50)
@given(record=records)
def test_a_record_comes_back_as_it_went(record: QueueRecord) -> None:
    assert decode(encode(record)) == record


@settings(max_examples=50)
@given(record=records, extra=st.binary(max_size=30), number=st.integers(1000, 5000))
def test_what_a_newer_release_added_survives(
    record: QueueRecord, extra: bytes, number: int
) -> None:
    field = varint(number << 3 | 2) + varint(len(extra)) + extra
    newer = decode(encode(record) + field)
    again = encode(newer.next_step(attempts=record.attempts + 1))
    assert field in again
    assert decode(again).unknown == newer.unknown


def test_what_a_newer_release_added_within_a_part_survives() -> None:
    """An older process defers the record: only what it replaces loses its additions."""
    blob = BlobRef(0, BODY_ID, 1, 9, b"", 1)
    last = LastReply("later", MOMENT, "4.7.1")
    first, second = (QueuedRecipient(Mailbox(who, "y.example"), last=last) for who in "bc")
    written = wire.QueueRecord.FromString(
        encode(
            queued(
                QUEUE_ID,
                content=blob,
                recipients=(first, second),
                hold=Hold("Admin"),
                chosen_site=ChosenSite("mx.y.example", (), MOMENT),
            )
        )
    )
    added = varint(1000 << 3 | 2) + varint(3) + b"new"
    parts = (
        *(written.origin, written.blob, written.hold, written.chosen_site),
        *(part for each in written.recipients for part in (each, each.last)),
    )
    for part in parts:
        part.MergeFromString(added)
    newer = decode(written.SerializeToString())
    assert decode(encode(newer)) == newer
    tried = replace(newer.recipients[1], last=LastReply("once more", MOMENT))
    older = newer.next_step(recipients=(newer.recipients[0], tried), hold=None)
    again = wire.QueueRecord.FromString(encode(older))
    kept = [again.origin, again.blob, again.chosen_site, *again.recipients]
    assert all(part.SerializeToString().endswith(added) for part in kept[:3])
    assert all(added in part.SerializeToString() for part in kept)
    assert [added in each.last.SerializeToString() for each in again.recipients] == [True, False]


@pytest.mark.parametrize(("sole", "destinations"), [(True, 1), (False, 0)])
def test_what_an_older_release_says_of_a_body_is_understood(sole: bool, destinations: int) -> None:
    written = wire.QueueRecord.FromString(
        encode(queued(QUEUE_ID, content=BlobRef(0, BODY_ID, 1, 9, b"", 7)))
    )
    written.blob.ClearField("destinations")
    written.blob.sole = sole
    body = decode(written.SerializeToString()).content
    assert isinstance(body, BlobRef)
    assert body.destinations == destinations


@pytest.mark.parametrize(("destinations", "sole"), [(1, True), (2, False)])
def test_an_older_release_is_told_which_body_it_may_delete(destinations: int, sole: bool) -> None:
    content = BlobRef(0, BODY_ID, 1, 9, b"", destinations)
    assert wire.QueueRecord.FromString(encode(queued(QUEUE_ID, content=content))).blob.sole == sole


def test_a_body_of_an_earlier_release_is_read_as_such() -> None:
    former = BlobRef(0, BODY_ID, 1, 9, b"", 1, former=True)
    written = wire.QueueRecord.FromString(encode(queued(QUEUE_ID, content=former)))
    assert (written.blob.blob_id, list(written.needs)) == (BODY_ID, [])
    assert decode(written.SerializeToString()).content == former


def test_an_earlier_release_leaves_a_body_that_it_cannot_find() -> None:
    content = BlobRef(0, BODY_ID, 1, 9, b"", 1)
    written = wire.QueueRecord.FromString(encode(queued(QUEUE_ID, content=content)))
    assert list(written.needs) == ["chunk-subjects"]
    again = decode(written.SerializeToString())
    assert (again.content, again.needs) == (content, frozenset())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("blob_id", name)
            for name in ("", "*", "d-", "d-*", f"{BODY_ID}.ended", f"d-{BODY_ID}*")
        ),
        *(("blob_id", f"d-{BODY_ID}\n"), ("chunks", 2**32 - 1), ("destinations", 2**32 - 1)),
    ],
)
def test_a_record_names_one_body_and_nothing_else(field: str, value: object) -> None:
    """Delivery deletes what it names: whoever puts mail in could empty a stream with another."""
    content = BlobRef(0, BODY_ID, 1, 9, b"", 1)
    written = wire.QueueRecord.FromString(encode(queued(QUEUE_ID, content=content)))
    setattr(written.blob, field, value)
    with pytest.raises(RecordCorrupt):
        decode(written.SerializeToString())


def varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(octets + bytes([value]))


@given(octets=st.binary(max_size=200))
def test_rubbish_is_no_crash(octets: bytes) -> None:
    try:
        decode(octets)
    except RecordCorrupt:
        pass


@pytest.mark.parametrize(
    "message",
    [
        wire.QueueRecord(),
        wire.QueueRecord(queue_id="no id", domain="y.example"),
        wire.QueueRecord(queue_id=new_queue_id(datetime.now(UTC), 1), domain="y.example"),
    ],
)
def test_what_lacks_its_id_is_no_record(message: wire.QueueRecord) -> None:
    with pytest.raises(RecordCorrupt):
        decode(message.SerializeToString())


def test_a_microsecond_is_kept() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)
    record = queued(new_queue_id(moment, 1), arrival=moment)
    assert decode(encode(record)).arrival == moment
