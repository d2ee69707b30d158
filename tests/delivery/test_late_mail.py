"""Mail that has outlived its lifetime has its try first, also where it has to wait for that."""

import asyncio
from datetime import timedelta

from postroad.spool.memory.spool import MemorySpool
from postroad.testing.delivery import delivering, publish, send, to_smarthost, waiting
from postroad.testing.mx import ScriptedMx
from postroad.testing.patience import patient
from postroad.testing.queued_mail import now


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
