"""Mail that waits for the DNS has a room of its own, and mail that does not goes past it."""

import asyncio
from datetime import timedelta

from postroad.delivery.lookups import Lookups
from postroad.delivery.resolver import Resolver
from postroad.policy.model import RetrySchedule, Smarthost, TlsMode, WayOut
from postroad.spool.memory import MemorySpool
from postroad.spool.selection import Selection
from postroad.testing.delivery import delivering, publish, send
from postroad.testing.mx import ScriptedMx
from postroad.testing.patience import patient
from postroad.testing.zone import Trouble, Zone

LATER = RetrySchedule(first=timedelta(hours=1))


async def test_mail_that_needs_no_dns_goes_on_while_the_dns_says_nothing() -> None:
    spool = MemorySpool()
    names = {f"d{n}.test": Trouble.SILENCE for n in range(400)}
    async with ScriptedMx() as mx, Zone(names) as zone:
        hosts = (Smarthost("127.0.0.1", mx.port),)
        await publish(
            spool,
            anywhere=WayOut("relay:shop/mx", retry=LATER),
            near_test=WayOut("relay:shop/near", hosts, tls=TlsMode.NONE),
        )
        await send(spool, *(f"a@{name}" for name in names))
        async with delivering(spool, resolver=Resolver(zone.address), room=100, finish=0.1):
            await zone.was_asked(25)
            await send(spool, *(f"{n}@near.test" for n in range(20)))
            async with asyncio.timeout(patient(8)):
                await mx.received(20)
        queued = [each.record async for each in spool.waiting.list(Selection())]
        assert len(queued) == 400
        assert sum(record.attempts for record in queued) == 0, "what was not asked was not tried"


def test_what_is_put_off_comes_back_a_little_at_a_time() -> None:
    room = Lookups(10)
    waits = [room.wait(100.0) for _ in range(1000)]
    assert waits[0] == 5
    assert 20 < waits[-1] < 30
    assert waits == sorted(waits)
    assert room.wait(1000.0) == 5
