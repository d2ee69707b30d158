"""A delivery process over a queue in memory: what it sends, what it leaves, what it logs."""

import asyncio
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from postroad.delivery.sites.site import Site
from postroad.delivery.sites.waiting import WaitingRecord
from postroad.dns.resolver import Resolver
from postroad.mail.address import parse_mailbox
from postroad.policy.model import (
    EgressPath,
    Rate,
    TlsMode,
)
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient, RecipientState
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone, ZoneFault
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad_harness.setups.delivery.worker import QUICK, to_smarthost, waiting


async def test_several_recipients_of_a_domain_are_one_transaction() -> None:
    spool = MemorySpool()
    recipients = tuple(QueuedRecipient(parse_mailbox(f"{n}@y.example")) for n in "abc")
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "a@y.example", recipients=recipients)
            [event] = await history(spool, EventType.DELIVERY)
        assert await waiting(spool) == []
        assert event.recipients == ("a@y.example", "b@y.example", "c@y.example")
        assert [len(message.recipients) for message in mx.messages] == [3]
        assert mx.commands[-1] == b"QUIT", "a drain says goodbye"


async def test_a_deferred_message_is_tried_again_and_arrives_once() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"451 4.7.1 later\r\n" if line.startswith(b"RCPT") and count == 0 else None

    spool = MemorySpool()
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx, QUICK))
        async with delivering(spool):
            await send(spool, "b@y.example")
            [failure] = await history(spool, EventType.TRANSIENT_FAILURE)
            assert failure.reply == "451 4.7.1 later"
            [delivery] = await history(spool, EventType.DELIVERY)
            assert (failure.attempt, delivery.attempt) == (1, 2)
        assert len(mx.messages) == 1


async def test_a_bounce_goes_back_to_the_sender_from_nobody() -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return b"550 5.1.1 no such user\r\n" if b"<b@y.example>" in line else None

    spool = MemorySpool()
    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        async with delivering(spool):
            await send(spool, "b@y.example")
            await history(spool, EventType.BOUNCE)
            [report] = await asyncio.wait_for(mx.received(1), patient(5))
        assert report.mail.startswith(b"MAIL FROM:<> ")
        assert report.recipients == [b"RCPT TO:<a@x.example>"]
        assert b"Diagnostic-Code: smtp; 550 5.1.1 no such user" in report.content
        assert await waiting(spool) == []


async def test_the_most_specific_relay_is_the_way_out() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as anywhere, ScriptedMx() as special:
        await publish(spool, anywhere=to_smarthost(anywhere), y_example=to_smarthost(special))
        async with delivering(spool):
            await send(spool, "b@y.example", "c@z.example")
            await history(spool, EventType.DELIVERY, 2)
        assert [m.recipients for m in special.messages] == [[b"RCPT TO:<b@y.example>"]]
        assert [m.recipients for m in anywhere.messages] == [[b"RCPT TO:<c@z.example>"]]


async def test_a_changed_relay_acts_at_once() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as before, ScriptedMx() as after:
        await publish(spool, anywhere=to_smarthost(before))
        async with delivering(spool):
            await send(spool, "b@y.example")
            await history(spool, EventType.DELIVERY, 1)
            await publish(spool, anywhere=to_smarthost(after))
            await send(spool, "b@y.example")
            await asyncio.wait_for(after.received(1), patient(5))


async def test_mail_without_a_way_out_waits() -> None:
    spool = MemorySpool()
    await publish(spool, y_example=to_smarthost(1))
    async with delivering(spool):
        await send(spool, "b@z.example")
        [event] = await history(spool, EventType.TRANSIENT_FAILURE)
        assert event.reply == "no route to recipient"
    assert await waiting(spool) == [WaitKind.DEFERRED]


@pytest.mark.parametrize("state", [RecipientState.DELIVERED, RecipientState.BOUNCED])
async def test_a_record_without_a_recipient_that_waits_ends_at_once(state: RecipientState) -> None:
    spool = MemorySpool()
    ended = (QueuedRecipient(parse_mailbox("b@y.example"), state=state),)
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        [queue_id] = await send(spool, "b@y.example", recipients=ended)
        with capture_logs() as lines:
            async with delivering(spool), asyncio.timeout(patient(5)):
                while await waiting(spool):
                    await asyncio.sleep(0.01)
    told = [line["event"] for line in lines if str(line.get("record_id")).startswith(queue_id)]
    assert told == ["a record has no recipient left"]
    assert mx.connections == 0


async def test_mail_by_mx_finds_its_host_and_its_sender() -> None:
    table: Table = {
        "y.example": ["MX 10 mx.y.example."],
        "x.example": ["MX 10 mx.y.example."],
        "mx.y.example": ["A 127.0.0.1"],
        "null.example": ["MX 0 ."],
        "away.example": ZoneFault.SERVFAIL,
    }
    spool = MemorySpool()
    async with ScriptedMx() as mx, Zone(table) as zone:
        await publish(spool, anywhere=EgressPath("relay:shop/mx", tls=TlsMode.NONE))
        async with delivering(spool, resolver=Resolver(zone.address), port=mx.port):
            await send(spool, "b@y.example", "c@null.example", "d@away.example")
            [bounce] = await history(spool, EventType.BOUNCE)
            [failure] = await history(spool, EventType.TRANSIENT_FAILURE)
            messages = await asyncio.wait_for(mx.received(2), patient(5))
        assert bounce.reply == "the domain accepts no mail (null MX)"
        assert failure.domain == "away.example"
        senders = {message.mail.split()[1] for message in messages}
        assert senders == {b"FROM:<a@x.example>", b"FROM:<>"}
        assert spool.sites.lookup("y.example") == "mx.y.example"
        assert await waiting(spool) == [WaitKind.DEFERRED]


@pytest.mark.parametrize("answer", [HANG_UP, b"354 go on\r\n"], ids=["closed", "odd"])
async def test_a_host_that_never_answers_the_final_dot_gets_the_mail_once(answer: bytes) -> None:
    """It may have taken it: with another at the same host a person gets it each time."""
    table: Table = {
        "y.example": ["MX 10 mx1.y.example.", "MX 20 mx2.y.example."],
        "mx1.y.example": ["A 127.0.0.1"],
        "mx2.y.example": ["A 127.0.0.2"],
    }
    spool = MemorySpool()
    fickle = ScriptedMx(lambda line, _: answer if line == b"." else None)
    egress_path = EgressPath("relay:shop/mx", tls=TlsMode.NONE, retry=QUICK)
    async with (
        fickle as mx1,
        ScriptedMx(address="127.0.0.2", at_port=mx1.port) as mx2,
        Zone(table) as zone,
    ):
        await publish(spool, anywhere=egress_path)
        async with delivering(spool, resolver=Resolver(zone.address), port=mx1.port):
            await send(spool, "b@y.example")
            [failure] = await history(spool, EventType.TRANSIENT_FAILURE)
            [delivery] = await history(spool, EventType.DELIVERY)
    assert (failure.host, failure.ambiguous) == ("mx1.y.example", True)
    assert delivery.host == "mx2.y.example"
    assert (mx1.commands.count(b"DATA"), len(mx2.messages)) == (1, 1)


async def test_no_more_connections_than_a_site_allows() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=3))
        await send(spool, *(f"{n}@y.example" for n in range(60)))
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 60)
        assert mx.most_open == 3
        assert mx.connections == 3, "each is used again and again"


async def test_no_more_messages_in_a_window_than_a_site_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starts: list[float] = []
    begin = Site.begin

    def noted(site: Site, waiting: WaitingRecord, now: float) -> None:
        starts.append(now)
        begin(site, waiting, now)

    monkeypatch.setattr(Site, "begin", noted)
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        rate = Rate(3, timedelta(seconds=0.3))
        await publish(spool, anywhere=to_smarthost(mx, message_rate=rate, connections=5))
        await send(spool, *(f"{n}@y.example" for n in range(8)))
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 8)
    assert len(starts) == 8
    assert all(later - earlier >= 0.3 for earlier, later in zip(starts, starts[3:], strict=False))


async def test_no_more_messages_on_a_connection_than_a_site_allows() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        limited = to_smarthost(mx, messages_per_connection=2, connections=1)
        await publish(spool, anywhere=limited)
        await send(spool, *(f"{n}@y.example" for n in range(7)))
        async with delivering(spool):
            await history(spool, EventType.DELIVERY, 7)
        assert mx.connections == 4


async def test_a_site_that_is_away_is_not_asked_for_each_message() -> None:
    async with ScriptedMx() as mx:
        port = mx.port
    spool = MemorySpool()
    await publish(spool, anywhere=to_smarthost(port, connections=1))
    await send(spool, *(f"{n}@y.example" for n in range(5)))
    async with delivering(spool):
        await history(spool, EventType.TRANSIENT_FAILURE)
    queued = [each.record async for each in spool.waiting.list(Selection())]
    assert sorted(record.attempts for record in queued) == [0, 0, 0, 0, 1]
    reasons = [
        recipient.last.text
        for record in queued
        for recipient in record.recipients
        if recipient.last
    ]
    assert sum(reason.startswith("suspended for a while: ") for reason in reasons) == 4
    assert await waiting(spool) == [WaitKind.DEFERRED] * 5
