"""Which records count as unreadable, so that they are held and no process writes them on."""

from dataclasses import replace

import pytest

from postroad.mail.address import Mailbox
from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.errors import RecordCorrupt
from postroad.spool.event import EventType, record_event
from postroad.spool.jetstream.consume.poison.suspects import record_of
from postroad.spool.lanes.keys import Key, QueueStream
from postroad.spool.record import BlobRef, ChosenSite, QueuedRecipient
from postroad.spool.wire.event import decode_events, encode_events
from postroad.spool.wire.record import decode, encode
from postroad.testing.queue.queued_mail import now
from postroad_harness.setups.spool.odd import WELL, delivered


def altered(alter: object) -> bytes:
    told = wire.QueueRecord.FromString(WELL)
    assert callable(alter)
    alter(told)
    return told.SerializeToString()


NUMBERS = ["step", "attempts", "lane_moves", "arrival_us", "deadline_us", "waits_until_us"]


@pytest.mark.parametrize("pool", ["Upper", "a.b", "p" * 64, "\u00e9"])
def test_a_record_of_a_pool_that_no_relay_may_name_is_unreadable(pool: str) -> None:
    """Once it has waited, it would be ready where no process looks."""
    payload = altered(lambda told: setattr(told, "pool", pool))
    assert record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload)).content == payload


@pytest.mark.parametrize("name", ["step", "attempts", "lane_moves"])
def test_what_no_event_could_tell_is_unreadable(name: str) -> None:
    """The events of other mail that were to be written with it were lost."""
    payload = altered(lambda told: setattr(told, name, 2**30))
    assert record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload)).content == payload
    told = decode(altered(lambda told: setattr(told, name, 2**30 - 1)))
    event = record_event(EventType.BOUNCE, told, (), at=now(), process="", of_attempt=True)
    [stored] = decode_events(encode_events([event]))
    assert stored.attempt == event.attempt


@pytest.mark.parametrize("name", NUMBERS)
def test_what_has_no_later_form_is_unreadable(name: str) -> None:
    largest = 2**63 - 1 if name.endswith("_us") else 2**32 - 1
    payload = altered(lambda told: setattr(told, name, largest))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload
    assert found.domain == "y.example"


def test_a_body_with_more_destinations_than_there_can_be_is_unreadable() -> None:
    payload = encode(replace(decode(WELL), content=BlobRef(0, "b", 1, 9, b"", 2**32 - 1)))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload


def test_a_record_that_would_keep_delivery_busy_for_seconds_is_unreadable() -> None:
    """Other mail waited for each attempt at it."""
    told = decode(WELL)
    payload = encode(replace(told, recipients=told.recipients * 5_001))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload


@pytest.mark.parametrize("mailbox", [Mailbox("a" * 256, "y.example"), Mailbox("a", "y" * 254)])
def test_a_mailbox_that_no_command_could_name_is_unreadable(mailbox: Mailbox) -> None:
    told = decode(WELL)
    for payload in (
        encode(replace(told, recipients=(QueuedRecipient(mailbox),))),
        encode(replace(told, reverse_path=mailbox)),
    ):
        found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
        assert found.content == payload


@pytest.mark.parametrize("state", [3, 2**31 - 1, -1, -4, -(2**31)])
def test_a_recipient_in_a_state_that_there_is_not_is_unreadable(state: int) -> None:
    """Such a record was neither handed out nor held: enough of them stopped their lane for good."""
    payload = altered(lambda told: setattr(told.recipients[0], "state", state))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload


def test_a_site_with_a_name_that_none_has_is_unreadable() -> None:
    """It is hashed to find the lane, and kept in a cache: long ones cost time and memory."""
    payload = encode(replace(decode(WELL), site="m" * 1001))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload


@pytest.mark.parametrize("size", [2**40, 2**64 - 1])
def test_a_body_larger_than_there_can_be_is_unreadable(size: int) -> None:
    payload = encode(replace(decode(WELL), content=BlobRef(0, "b", 1, size, b"", 1)))
    found = record_of(delivered("pr.i.0.r.default.x.p00.y_example", payload))
    assert found.content == payload


CHOSEN = ChosenSite("mx.example", (("mx.example", ("192.0.2.1",)),), now())


@pytest.mark.parametrize(
    "chosen",
    [
        replace(CHOSEN, hosts=(("mx.example", ("nowhere",)),)),
        replace(CHOSEN, hosts=(("m" * 2000, ("192.0.2.1",)),)),
        replace(CHOSEN, hosts=CHOSEN.hosts * 2000),
        replace(CHOSEN, number=2**32 - 1),
    ],
    ids=["no address", "long name", "many hosts", "large number"],
)
def test_a_chosen_site_that_no_process_writes_is_unreadable(chosen: ChosenSite) -> None:
    payload = encode(replace(decode(WELL), chosen_site=chosen))
    with pytest.raises(RecordCorrupt):
        decode(payload)


def test_who_accepts_mail_has_no_say_about_its_hosts() -> None:
    """Where these do not answer, mail of others for the same site would wait."""
    payload = encode(replace(decode(WELL), chosen_site=CHOSEN))
    new = delivered("pr.i.0.r.default.x.p00.y_example", payload)
    assert record_of(new).content == payload
    stored_by_delivery = replace(new, key=Key(QueueStream.WAITING, 0, 1))
    assert record_of(stored_by_delivery).chosen_site == CHOSEN
