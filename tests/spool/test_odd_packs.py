"""Packs that no process of ours writes, and records in them that nobody can read."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from postroad.mail.traffic import TrafficClass
from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.pack import pack
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import crash_process, kinds, now, record, until
from postroad_harness.setups.spool.packing import (
    INTAKE,
    Taking,
    at_once,
    one_shard,
    stored,
    to_of,
    until_seen,
    until_stored,
)
from postroad_harness.setups.spool.taking import OpenJetStream

pytestmark = pytest.mark.nats

A, B, C = (f"{name}@y.example" for name in "abc")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with one_shard(tmp_path, lanes=1) as running:
        yield running


def mail(to: str, **more: Any) -> bytes:
    """Return an encoded record of new mail."""
    return encode(record(new_queue_id(now(), 0), to, **more))


async def publish(
    link: Link, payload: bytes, *, kind: str = "p2", domain: str = "y_example"
) -> None:
    """Store a message in the intake, as whoever accepts mail may."""
    await link.jetstream.publish(f"pr.i.0.{kind}.default.x.p00.{domain}", payload)


async def held(spool: JetStreamSpool, count: int) -> list[object]:
    """Return the contents of held mail, once there are so many."""
    async with asyncio.timeout(patient(20)):
        while True:
            found = [each async for each in spool.waiting.list(Selection()) if each.record.hold]
            if len(found) == count:
                break
            await asyncio.sleep(0.05)
    assert {each.record.hold.reason for each in found if each.record.hold} == {"Unreadable"}
    return sorted((each.record.content for each in found), key=str)


async def test_a_record_that_cannot_be_read_is_held_and_the_others_are_delivered(
    spool: JetStreamSpool, link: Link
) -> None:
    payload = pack([mail(A), b"one", mail(B), b"other"])
    await publish(link, payload, kind="p4")
    taking = Taking(spool)
    await taking.until(2)
    assert await held(spool, 2) == [b"one", b"other"]
    assert await stored(link) == 1
    await taking.settle_all()
    assert await stored(link) == 0
    assert taking.names == [A, B]
    await taking.end()


async def test_a_record_that_was_held_is_held_once_though_its_process_dies(
    open_spool: OpenJetStream, link: Link
) -> None:
    await publish(link, pack([mail(A), b"one"]))
    spool = await open_spool()
    dead = Taking(spool)
    await dead.until(1)
    assert await held(spool, 1) == [b"one"]
    await crash_process(spool, dead.consumer)
    heir_spool = await open_spool()
    heir = Taking(heir_spool)
    await heir.until(1)
    await heir.settle_all()
    await until(heir_spool, WaitKind.HELD)
    assert heir.names == [A]
    await heir.end()


THREE = [mail(A), mail(B), mail(C)]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("p2", b"\xff\xff no protobuf"),
        ("p2", b""),
        ("p2", pack(THREE)),
        ("p4", pack(THREE)),
        ("p2", THREE[0]),
        ("p0", pack(THREE)),
        ("p03", pack(THREE)),
        ("p100", pack(THREE)),
        ("r", pack(THREE)),
    ],
    ids=["garbage", "empty", "more", "fewer", "record", "p0", "p03", "p100", "single"],
)
async def test_what_is_no_pack_is_held_as_it_is_and_harms_nothing_else(
    spool: JetStreamSpool, link: Link, kind: str, payload: bytes
) -> None:
    await until_seen(spool)
    await publish(link, payload, kind=kind)
    await at_once(spool, A, B, C)
    await publish(link, payload, kind=kind)
    taking = Taking(spool)
    await taking.until(3)
    await taking.settle_all()
    assert await held(spool, 2) == [payload] * 2
    await until_stored(link, 0)
    assert taking.names == [A, B, C]
    await taking.end()


TWICE = record(new_queue_id(now(), 0), B)
DATE = now() + timedelta(hours=1)


@pytest.mark.parametrize(
    ("odd", "domain"),
    [
        ([encode(TWICE), encode(TWICE)], "y_example"),
        ([mail(B), mail(B, pool="bulk")], "y_example"),
        ([mail(B), mail(B, traffic_class=TrafficClass.BULK)], "y_example"),
        ([mail(B), mail("b@z.example")], "y_example"),
        ([mail(B), mail(B, step=1)], "+"),
        ([mail(B), mail(B, waits_until=DATE)], "+"),
        ([mail(B), encode(record(new_queue_id(now(), 1), B))], "+"),
    ],
    ids=["twice", "pool", "class", "domain", "later form", "waits", "shard"],
)
async def test_a_record_that_does_not_belong_there_is_held_and_no_other(
    spool: JetStreamSpool, link: Link, odd: Sequence[bytes], domain: str
) -> None:
    """A listing, a count and a consumer go by the subject."""
    await publish(link, pack([mail(A), *odd, mail(C)]), kind="p4", domain=domain)
    assert [each async for each in spool.waiting.list(Selection(domain="z.example"))] == []
    listed = [each async for each in spool.waiting.list(Selection(domain="y.example"))]
    assert [to_of(each.record) for each in listed] == [A, B, C]
    taking = Taking(spool)
    await taking.until(3)
    assert await held(spool, 1) == [odd[1]]
    await taking.settle_all()
    await until(spool, WaitKind.HELD)
    assert taking.names == [A, B, C]
    await taking.end()


async def test_a_record_that_a_newer_process_wrote_waits_and_no_other(
    spool: JetStreamSpool, link: Link
) -> None:
    await publish(link, pack([mail(A), mail(B, needs=frozenset({"teleport"}))]))
    taking = Taking(spool)
    await taking.until(1)
    await taking.settle_all()
    await until_stored(link, 0)
    assert taking.names == [A]
    [waits] = [each async for each in spool.waiting.list(Selection())]
    assert (to_of(waits.record), waits.kind) == (B, WaitKind.DEFERRED)
    await taking.end()


async def test_a_listing_passes_over_what_cannot_be_read(spool: JetStreamSpool, link: Link) -> None:
    await publish(link, b"garbage", domain="+")
    await publish(link, pack([mail(A), b"garbage", mail("b@z.example")]), kind="p3", domain="+")
    assert await kinds(spool) == [WaitKind.READY] * 2
    backlog = await spool.waiting.backlog()
    assert sum(backlog.ready.values()) == 5, "as their subjects say"
    assert await stored(link, INTAKE) == 2
