"""A lease counts only while it cannot have expired and its process counts as alive."""

import asyncio
from types import SimpleNamespace
from typing import Any

from postroad.spool.jetstream.consume.leases import Leases
from postroad.spool.jetstream.in_flight import InFlight, InFlightEntry
from postroad.spool.jetstream.timings import Timings
from postroad.spool.lanes.keys import Key, QueueStream

KEY = Key(QueueStream.WAITING, 0, 1)
TIMINGS = Timings()
LASTS, FRESH = TIMINGS.ack_wait.total_seconds(), TIMINGS.lease_fresh.total_seconds()


class Scene:
    """One record in hand, whose lease was confirmed `ago` seconds ago."""

    def __init__(self, ago: float, *, alive: bool = True, takes: float = 0.0) -> None:
        self.asked: list[bytes] = []
        self._takes = takes
        hand: InFlight[str] = InFlight(places=1)
        self._lease = hand.open(KEY, "reply", asyncio.get_running_loop().time() - ago)
        hand.add(InFlightEntry(KEY, self._lease, 1, "mail"))
        unused: Any = None
        membership: Any = SimpleNamespace(alive=lambda: alive)
        requests: Any = SimpleNamespace(send=self._send)
        self.leases = Leases(
            hand, link=unused, requests=requests, membership=membership, timings=TIMINGS
        )

    async def _send(self, _: str, payload: bytes, *, timeout: float) -> None:
        self.asked.append(payload)
        self._lease.confirmed -= self._takes


async def test_a_lease_that_is_no_longer_fresh_is_confirmed_by_the_queue() -> None:
    scene = Scene(FRESH + 1)
    assert not scene.leases.fresh(KEY)
    assert await scene.leases.confirm(KEY)
    assert scene.asked == [b"+WPI"]


async def test_nobody_is_asked_to_extend_a_lease_that_may_have_run_out() -> None:
    """The server would say yes, whoever has the record by now."""
    scene = Scene(LASTS + 1)
    assert not await scene.leases.confirm(KEY)
    assert scene.asked == []


async def test_an_answer_is_worth_nothing_that_came_when_the_lease_might_have_run_out() -> None:
    scene = Scene(LASTS - 2, takes=3)
    assert not await scene.leases.confirm(KEY)


async def test_no_lease_is_fresh_of_a_process_that_others_may_take_for_dead() -> None:
    """Its lanes are others', and so are the limits that are kept for them."""
    assert Scene(0).leases.fresh(KEY)
    assert not Scene(0, alive=False).leases.fresh(KEY)
