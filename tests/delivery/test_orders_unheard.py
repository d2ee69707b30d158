"""Orders that one process has read and another has not: each reads them once a second."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from postroad.delivery.dispatch.precedence import order_for
from postroad.spool.agreement import Order
from postroad.spool.event import EventType
from postroad.spool.interface import Deferred
from postroad.spool.lanes.owners import LaneKey
from postroad.spool.memory.spool import MemoryCluster, MemorySpool
from postroad.spool.record import QueueRecord
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    delivering,
    history,
    order,
    publish,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put, record

MANY = 24
LANE = LaneKey("default", "x.tail")


class Late(MemorySpool):
    """The queue as a process sees it that has not heard of some orders yet."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.unheard: frozenset[str] = frozenset()
        all_in_force = self.orders.in_force

        def in_force(now: datetime) -> Sequence[Order]:
            return [each for each in all_in_force(now) if each.action not in self.unheard]

        self.orders.in_force = in_force  # type: ignore[method-assign]


@dataclass
class InHand:
    """A record in hand, as orders look at it."""

    record: QueueRecord
    deliveries: int = 1
    places: int = 1
    lane_key: LaneKey = LANE


async def changed(spool: MemorySpool, order_id: str) -> int:
    return sum((await spool.orders.reports(order_id)).values())


async def test_who_has_not_heard_of_a_release_holds_nothing_again() -> None:
    """Else mail would go back and forth, and both orders would count more than there is."""
    cluster = MemoryCluster()
    prompt, late = MemorySpool(cluster), Late(cluster)

    def script(line: bytes, count: int) -> bytes | None:
        return b"451 4.2.1 busy\r\n" if line.startswith(b"RCPT") else None

    async with ScriptedMx(script) as mx:
        await publish(prompt, anywhere=to_smarthost(mx))
        to = [f"b@d{number}.example" for number in range(MANY)]
        for address in to:
            await put(prompt, address, place=Deferred(now() + HOUR), origin=CLIENT)
        async with delivering(prompt, process="prompt"), delivering(late, process="late"):
            await prompt.orders.place(order("hold"))
            await history(prompt, EventType.HELD, MANY)
            late.unheard = frozenset({"release"})
            await prompt.orders.place(order("release"))
            await history(prompt, EventType.TRANSIENT_FAILURE, MANY)
            late.unheard = frozenset()
            await put(prompt, "b@last.example", place=Deferred(now() + HOUR), origin=CLIENT)
            await prompt.orders.place(replace(order("hold", domain="last.example"), order_id="end"))
            async with asyncio.timeout(patient(10)):
                while not await changed(prompt, "end"):
                    await asyncio.sleep(0.01)
        assert await changed(prompt, "hold") == MANY
        assert await changed(prompt, "release") == MANY
        kinds = [kind for kind, address in await waiting(prompt) if address in to]
    assert kinds == [WaitKind.DEFERRED] * MANY


def test_mail_that_was_released_follows_only_what_was_ordered_after_that() -> None:
    began = now()
    before, between, after = (
        replace(order(action), placed=began + timedelta(seconds=at))
        for at, action in enumerate(("hold", "release", "hold"))
    )
    mail = record("0" * 26, arrival=began - HOUR, released=between.since)
    leased = InHand(mail)
    assert order_for([before], leased) is None
    assert order_for([before, between], leased) is None
    assert order_for([before, between, after], leased) == after
    assert order_for([before, after], leased) == after
