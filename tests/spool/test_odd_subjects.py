"""
New mail under odd subjects, with odd contents: it is held, and all other mail goes on.

A process that accepts mail chooses the octets of a domain's token and of the record. If it is
compromised, it may choose any of which nats-server makes a message.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.proto.v1 import queue_pb2 as wire
from postroad.spool.interface import LeasedRecord, RecordConsumer
from postroad.spool.jetstream.consume.poison.suspects import put_on_hold, record_of
from postroad.spool.jetstream.opening import connect
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import is_plain, subject_of
from postroad.spool.lanes.layout import Layout
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import decode, encode
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import as_role, password_of
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import QUICK, put, take
from postroad.testing.streams import hang_up
from postroad_harness.setups.spool.intruder import server_with_accounts
from postroad_harness.setups.spool.odd import WELL, delivered

LAYOUT = Layout(shards=1, lanes=1, replicas=1)
ALL = Selection()

# Blanks to Python that are none to nats-server, what is no UTF-8, and what is no domain.
TOKENS = [
    *(bytes([97, octet, 98]) for octet in (0, 1, 0x0B, 0x0C, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F)),
    *(bytes([97, octet, 98]) for octet in (0x80, 0x85, 0xA0, 0xC3, 0xFF)),
    *(
        "a\u0085b".encode(),
        "\u2028".encode(),
        "\u3000".encode(),
        "\ud800".encode("utf-8", "replace"),
    ),
    *(b"=FF", b"=", b"=zz", b"=0D=0A", b"\xed\xa0\x80", b"..".replace(b".", b"_"), b"\\x0b"),
    *(b"a" * 3000, "\u00e9".encode() * 1500, b"=FF" * 1000, b"y_example"),
]
PAYLOADS = [b"", b"no record", b"\xff" * 40, WELL[:-3]]


class Publisher:
    """Somebody with the password of ingress, who writes to nats-server what is to be written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(
        self, token: bytes, payload: bytes, *, kind: bytes = b"r", pool: bytes = b"default"
    ) -> None:
        """Store new mail; returns when the server has stored it."""
        subject = b"pr.i.0.%s.%s.x.p00.%s" % (kind, pool, token)
        self._writer.write(
            b"PUB %s _INBOX_ingress.x %d\r\n%s\r\n" % (subject, len(payload), payload)
        )
        async with asyncio.timeout(patient(5)):
            while b'"seq"' not in (said := await self._reader.readline()):
                assert said, "the server hung up"
                assert b"error" not in said


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with server_with_accounts(tmp_path, LAYOUT) as running:
        yield running


@pytest.fixture
async def delivery(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("delivery", server.url, process="delivery", timings=QUICK))
    yield spool
    await spool.close()


@pytest.fixture
async def ingress(server: NatsServer) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("ingress", server.url, process="ingress", timings=QUICK))
    yield spool
    await spool.close()


@pytest.fixture
async def stranger(server: NatsServer) -> AsyncIterator[Publisher]:
    host, _, port = server.url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()  # what is sent before the server's INFO may be lost
    login = {"verbose": False, "user": "ingress", "pass": password_of("ingress")}
    writer.write(f"CONNECT {json.dumps(login)}\r\nSUB _INBOX_ingress.x 1\r\n".encode())
    yield Publisher(reader, writer)
    await hang_up(writer)


async def connections(server: NatsServer) -> int:
    """Return how many connections there have been."""
    return int((await asyncio.to_thread(server.page, "varz"))["total_connections"])


async def taken(consumer: RecordConsumer, to: str) -> LeasedRecord:
    """Return the record for a recipient, which must be the first that comes."""
    async with asyncio.timeout(patient(20)):
        async for leased in consumer:
            assert str(leased.record.recipients[0].mailbox) == to
            return leased
    raise AssertionError


async def held(spool: JetStreamSpool, count: int) -> list[bytes]:
    """Return the contents of held mail, once there are so many and nothing else waits."""
    async with asyncio.timeout(patient(30)):
        while True:
            waiting = [each async for each in spool.waiting.list(ALL)]
            if len(waiting) == count and all(each.kind is WaitKind.HELD for each in waiting):
                break
            await asyncio.sleep(0.05)
    assert {each.record.hold.reason for each in waiting if each.record.hold} == {"Unreadable"}
    contents = [each.record.content for each in waiting]
    assert all(isinstance(each, bytes) for each in contents)
    return [each for each in contents if isinstance(each, bytes)]


# ---------------------------------------------------------------- on a server


@pytest.mark.nats
async def test_odd_octets_in_subjects_cut_nobody_off(
    server: NatsServer, delivery: JetStreamSpool, ingress: JetStreamSpool, stranger: Publisher
) -> None:
    consumer = take(delivery)
    await put(ingress, "before@y.example")
    await consumer.settle(await taken(consumer, "before@y.example"))
    before = await connections(server)
    for token in TOKENS:
        await stranger.publish(token, b"of " + token)
    await put(ingress, "after@y.example")
    await consumer.settle(await taken(consumer, "after@y.example"))
    assert sorted(await held(delivery, len(TOKENS))) == sorted(b"of " + token for token in TOKENS)
    assert await connections(server) == before
    await consumer.close()


@pytest.mark.nats
@pytest.mark.parametrize("kind", [b"r", b"s", b"\x0b", b"\xff"])
async def test_a_record_under_a_subject_that_no_process_writes_is_held(
    server: NatsServer, delivery: JetStreamSpool, stranger: Publisher, kind: bytes
) -> None:
    """Though it can be read: nobody knows who stored it there."""
    await stranger.publish(b"a\x1fb", WELL, kind=kind)
    await stranger.publish(b"\xff", WELL, kind=kind)
    consumer = take(delivery)
    taking = asyncio.ensure_future(taken(consumer, "nobody@y.example"))
    assert await held(delivery, 2) == [WELL, WELL]
    assert not taking.done()
    taking.cancel()
    await consumer.close()


@pytest.mark.nats
@pytest.mark.parametrize(
    "pool", [b"*", b">", b"\xff", b"a\x1fb", b"Upper", b"a_b", b"a=2Eb", b"p" * 64, b"-a"]
)
async def test_mail_of_a_pool_that_no_relay_may_name_is_held(
    delivery: JetStreamSpool, stranger: Publisher, pool: bytes
) -> None:
    await stranger.publish(b"y_example", WELL, pool=pool)
    consumer = take(delivery)
    taking = asyncio.ensure_future(taken(consumer, "nobody@y.example"))
    assert await held(delivery, 1) == [WELL]
    assert not taking.done()
    taking.cancel()
    await consumer.close()


@pytest.mark.nats
async def test_invented_pools_end_no_process(
    delivery: JetStreamSpool, ingress: JetStreamSpool, stranger: Publisher
) -> None:
    """They were all told in its session, which was too large to be renewed. Takes 10 s."""
    for number in range(900):
        await stranger.publish(b"y_example", WELL, pool=b"%d" % number + b"p" * 2500)
    consumer = take(delivery)
    taking = asyncio.ensure_future(taken(consumer, "after@y.example"))
    await held(delivery, 900)
    await put(ingress, "after@y.example")
    await consumer.settle(await taking)
    assert delivery.sessions.alive()
    await consumer.close()


@pytest.mark.nats
async def test_no_name_in_a_record_is_written_to_a_connection_as_it_is(
    server: NatsServer, delivery: JetStreamSpool, ingress: JetStreamSpool, stranger: Publisher
) -> None:
    """A body's name, a domain or a pool becomes part of a subject, which is part of a line."""
    before = await connections(server)
    sent = [
        altered(lambda told: told.blob.CopyFrom(body(b"x 0\r\n\r\nPUB pr.q.0.h.p00.z.x 0\r\n"))),
        altered(lambda told: told.blob.CopyFrom(body(b"*"))),
        altered(lambda told: setattr(told, "domain", "y" * 5000)),
        altered(lambda told: setattr(told, "pool", "p" * 5000)),
    ]
    for payload in sent:
        await stranger.publish(b"y_example", payload)
    consumer = take(delivery)
    await put(ingress, "after@y.example")
    await consumer.settle(await taken(consumer, "after@y.example"))
    assert sorted(await held(delivery, len(sent))) == sorted(sent)
    assert await connections(server) == before
    await consumer.close()


def altered(alter: object) -> bytes:
    told = wire.QueueRecord.FromString(WELL)
    assert callable(alter)
    alter(told)
    return told.SerializeToString()


def body(name: bytes) -> wire.BlobRef:
    return wire.BlobRef(shard=0, blob_id=name.decode(), chunks=1, size=9, destinations=1)


any_domain = st.one_of(
    st.sampled_from(TOKENS).map(lambda token: token.decode("utf-8", "backslashreplace")),
    st.text(st.characters(exclude_characters=". \t\r\n"), min_size=1),
    st.text("=0123456789ABCDEF_", min_size=1),
)
any_payload = st.one_of(st.sampled_from([*PAYLOADS, WELL]), st.binary(max_size=80))


@given(domain=any_domain, payload=any_payload)
def test_whatever_comes_can_be_held(domain: str, payload: bytes) -> None:
    subject = f"pr.i.0.r.default.x.p00.{domain}"
    told = put_on_hold(record_of(delivered(subject, payload)), "Unreadable", datetime.now(UTC))
    assert decode(encode(told.record)) == told.record
    place = subject_of(0, told, "p00")
    assert is_plain(place)
    assert len(place.split(".")) == 7
    assert len(place) < 1000
