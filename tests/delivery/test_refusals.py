"""Hosts that refuse connections: fewer are opened, and waiting mail does not lose its tries."""

import asyncio
from datetime import timedelta

from postroad.policy.model import EgressPath, Rate, RetrySchedule, SiteLimits, Smarthost, TlsMode
from postroad.spool.event import EventType
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.peers.mx import HANG_UP, SILENCE, ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send

LATER = RetrySchedule(first=timedelta(hours=1))


def to(
    port: int, retry: RetrySchedule = LATER, connections: int = 20, rate: Rate | None = None
) -> EgressPath:
    host = Smarthost("127.0.0.1", port)
    limits = SiteLimits(connections=connections, message_rate=rate)
    return EgressPath("relay:shop/out", (host,), tls=TlsMode.NONE, retry=retry, limits=limits)


async def test_a_host_that_takes_two_connections_gets_all_mail_over_two() -> None:
    spool = MemorySpool()
    async with ScriptedMx(sessions=2, slowness=0.01) as mx:
        await publish(spool, anywhere=to(mx.port))
        async with delivering(spool):
            await send(spool, *(f"{n}@y.example" for n in range(150)))
            async with asyncio.timeout(patient(20)):
                await mx.received(150)
            await history(spool, EventType.DELIVERY, 150)
        assert mx.turned_away < 10
        failed = [
            event
            async for event in spool.events.read(follow=False)
            if event.type is EventType.TRANSIENT_FAILURE
        ]
        assert failed == [], "no mail was spent on refusals"


async def test_a_host_that_refuses_every_connection_is_asked_with_one_message() -> None:
    spool = MemorySpool()
    async with ScriptedMx(sessions=0) as mx:
        await publish(spool, anywhere=to(mx.port))
        await send(spool, *(f"{n}@y.example" for n in range(30)))
        async with delivering(spool):
            [failure] = await history(spool, EventType.TRANSIENT_FAILURE)
        assert "421 4.7.0 too many connections from your address" in failure.reply
        assert mx.turned_away <= 10
    queued = [each.record async for each in spool.waiting.list(Selection())]
    assert sum(record.attempts for record in queued) == 1


async def test_mail_that_was_not_tried_comes_back_as_soon_as_its_site_may_be_up() -> None:
    retry = RetrySchedule(first=timedelta(seconds=3), longest=timedelta(seconds=3))
    spool = MemorySpool()
    up = asyncio.Event()
    async with ScriptedMx(lambda *_: None if up.is_set() else HANG_UP) as mx:
        await publish(spool, anywhere=to(mx.port, retry, connections=1))
        async with delivering(spool):
            await send(spool, "first@y.example")
            await history(spool, EventType.TRANSIENT_FAILURE)
            up.set()
            await send(spool, "second@y.example")
            delivered = await history(spool, EventType.DELIVERY, 2)
    assert [(event.recipients, event.attempt) for event in delivered] == [
        (("second@y.example",), 1),
        (("first@y.example",), 2),
    ]


async def test_what_no_host_was_asked_to_take_is_no_message_of_a_rate() -> None:
    """After an outage all of the rate is there: what failed then was begun at no host."""
    soon = timedelta(seconds=0.2)
    retry = RetrySchedule(first=soon, longest=soon)
    spool, up = MemorySpool(), asyncio.Event()
    async with ScriptedMx(lambda *_: None if up.is_set() else HANG_UP) as mx:
        path = to(mx.port, retry, connections=1, rate=Rate(3, timedelta(hours=1)))
        await publish(spool, anywhere=path)
        async with delivering(spool), asyncio.timeout(patient(20)):
            await send(spool, *(f"{n}@y.example" for n in range(5)))
            await history(spool, EventType.TRANSIENT_FAILURE, 4)
            up.set()
            await mx.received(3)


async def test_a_connection_that_hangs_keeps_no_mail_from_a_host_that_takes_it_again() -> None:
    """It takes ten seconds: for as long what is silent may only be slow."""
    spool, hangs = MemorySpool(), asyncio.Event()

    def script(line: bytes, count: int) -> bytes | None:
        if line != b"." or count:
            return None
        hangs.set()
        return SILENCE

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to(mx.port))
        async with delivering(spool, finish=0.1), asyncio.timeout(patient(40)):
            await send(spool, "hangs@y.example")
            await hangs.wait()
            mx.greeting = b"421 4.3.2 too many connections\r\n"
            await send(spool, *(f"{n}@y.example" for n in range(20)))
            await mx.met(5)
            mx.greeting = b"220 mx.test ESMTP\r\n"
            await mx.received(20)
        assert mx.connections < 12, "hardly any were refused"
