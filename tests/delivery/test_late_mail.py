"""Mail past its lifetime gets its one try first, even if it has to wait for that."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from postroad.policy.model import RetrySchedule
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Held
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Hold
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    delivering,
    history,
    order,
    publish,
    send,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put


async def test_mail_past_its_lifetime_waits_for_room_at_a_site_that_takes_mail() -> None:
    """
    As what was held for longer than its lifetime, and is released at once.

    It takes some seconds: what finds no room is put off for one at least.
    """
    spool = MemorySpool()
    mails = [f"{number}@far.example" for number in range(80)]
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx, connections=1))
        await send(spool, *mails, deadline=now() - timedelta(days=1))
        async with delivering(spool, room=20), asyncio.timeout(patient(30)):
            await mx.received(len(mails))
        assert len({str(message.recipients[0]) for message in mx.messages}) == len(mails)
        assert await waiting(spool) == [], "nobody was told that mail had expired"


async def test_mail_past_its_lifetime_waits_for_a_site_that_is_left_alone() -> None:
    """It takes some seconds: a site is left alone for half of what its retries begin with."""
    spool = MemorySpool()
    mails = [f"{number}@far.example" for number in range(5)]
    async with ScriptedMx(greeting=b"421 4.3.2 busy for a moment\r\n") as mx:
        retry = RetrySchedule(first=timedelta(seconds=4))
        await publish(spool, anywhere=replace(to_smarthost(mx), retry=retry))
        for mail in mails:
            late = now() - timedelta(days=1)
            place = Held(now() + HOLD_LIMIT)
            await put(spool, mail, place=place, hold=Hold("Admin"), origin=CLIENT, deadline=late)
        async with delivering(spool), asyncio.timeout(patient(30)):
            await send(spool, "tried@far.example", deadline=now() + timedelta(hours=1))
            await history(spool, EventType.TRANSIENT_FAILURE)
            mx.greeting = b"220 mx.test ESMTP\r\n"
            await spool.orders.place(order("release"))
            await mx.received(len(mails))
        to = {recipient for message in mx.messages for recipient in message.recipients}
        assert to >= {b"RCPT TO:<%s>" % mail.encode() for mail in mails}, "mail expired untried"
