"""
Two orders on the same mail: each kind after each other, on mail in each place.

What an order ends or holds does not depend on where the mail was when the order was given. A
suspension, its end and a retry only say when mail is tried, and a release only ends holds.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from postroad.cli.queue.listing import last_reply
from postroad.cli.queue.suspension import try_again
from postroad.mail.address import parse_mailbox
from postroad.spool.agreement import Order
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Deferred, Held, QueueState, Ready
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Hold, QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    counted,
    delivering,
    history,
    order,
    publish,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put

# In each line what becomes of mail by the order at its head, and then by the one above the column.
READY = """
          delete   bounce   hold     release  retry    suspend  resume
delete    deleted  bounced  held     deleted  deleted  deleted  deleted
bounce    deleted  bounced  held     bounced  bounced  bounced  bounced
hold      deleted  bounced  held     sent     held     held     held
release   deleted  bounced  held     sent     sent     put-off  sent
retry     deleted  bounced  held     sent     sent     put-off  sent
suspend   deleted  bounced  held     put-off  sent     put-off  sent
resume    deleted  bounced  held     sent     sent     put-off  sent
"""
IN_HAND = """
          delete   bounce   hold     release  retry    suspend  resume
delete    deleted  bounced  held     deleted  deleted  deleted  deleted
bounce    deleted  bounced  held     bounced  bounced  bounced  bounced
hold      deleted  bounced  held     waits    held     held     held
release   deleted  bounced  held     waits    waits    waits    waits
retry     deleted  bounced  held     waits    waits    waits    waits
suspend   deleted  bounced  held     waits    waits    waits    waits
resume    deleted  bounced  held     waits    waits    waits    waits
"""
DEFERRED = """
          delete   bounce   hold     release  retry    suspend  resume
delete    deleted  bounced  held     deleted  deleted  deleted  deleted
bounce    deleted  bounced  held     bounced  bounced  bounced  bounced
hold      deleted  bounced  held     waits    held     held     held
release   deleted  bounced  held     waits    sent     waits    sent
retry     deleted  bounced  held     sent     sent     put-off  sent
suspend   deleted  bounced  held     waits    sent     waits    sent
resume    deleted  bounced  held     sent     sent     put-off  sent
"""
HELD = """
          delete   bounce   hold     release  retry    suspend  resume
delete    deleted  bounced  held     deleted  deleted  deleted  deleted
bounce    deleted  bounced  held     bounced  bounced  bounced  bounced
hold      deleted  bounced  held     sent     held     held     held
release   deleted  bounced  held     sent     sent     put-off  sent
retry     deleted  bounced  held     sent     held     held     held
suspend   deleted  bounced  held     put-off  held     held     held
resume    deleted  bounced  held     sent     held     held     held
"""
PLACES: Sequence[tuple[str, QueueState]] = (
    (READY, Ready()),
    (DEFERRED, Deferred(now() + HOUR)),
    (HELD, Held(now() + HOLD_LIMIT)),
)
KINDS = READY.split()[:7]
_ENDS = {EventType.ADMIN_DELETE: "deleted", EventType.ADMIN_BOUNCE: "bounced"}


def row(table: str, older: str) -> dict[str, str]:
    """Return what becomes of mail by an order and then another, by the kind of the second."""
    [line] = [words for words in map(str.split, table.splitlines()[2:]) if words[:1] == [older]]
    return dict(zip(KINDS, line[1:], strict=True))


class Person:
    """Gives one order after the other, a second apart."""

    def __init__(self, spool: MemorySpool) -> None:
        self._spool = spool
        self._placed = now() - timedelta(seconds=30)
        self._suspension: Order | None = None

    async def gives(self, *kinds: str) -> None:
        for kind in kinds:  # what is resumed may have to be suspended before
            if kind == "resume":
                ended = self._suspension or await self._give("suspend")
                await self._spool.orders.withdraw(ended.order_id)
                await try_again(self._spool, ended)
            else:
                await self._give(kind)

    async def _give(self, kind: str) -> Order:
        self._placed += timedelta(seconds=1)
        given = replace(order(kind), placed=self._placed, order_id=f"{kind} {self._placed}")
        given = replace(given, selection=Selection(domain="y.example"))
        if kind == "suspend":
            taken = replace(given.selection, kinds=frozenset({WaitKind.READY}))
            given = self._suspension = replace(given, selection=taken, cutoff=None)
        await self._spool.orders.place(given)
        return given


async def fate(spool: MemorySpool) -> str:
    """Return what has become of the mail so far."""
    ended = [_ENDS[event.type] async for event in spool.events.read(types=frozenset(_ENDS))]
    if ended:
        return ended[0]
    found = [each async for each in spool.waiting.list(Selection(domain="y.example"))]
    if not found:
        return "sent"
    [queued] = found
    if queued.kind is WaitKind.HELD:
        return "held"
    if queued.kind is WaitKind.READY:
        return "ready"
    return "put-off" if last_reply(queued.record).startswith("suspended") else "waits"


async def becomes(spool: MemorySpool, expected: str) -> None:
    """Wait until that has become of the mail; if it does not, the caller tells what has."""
    try:
        async with asyncio.timeout(patient(3)):
            while await fate(spool) != expected:
                await asyncio.sleep(0.01)
    except TimeoutError:
        pass


async def looked_through(spool: MemorySpool) -> None:
    """Wait until the process has carried out all orders so far, by one that comes after them."""
    await put(spool, "b@last.example", place=Deferred(now() + HOUR), origin=CLIENT)
    await spool.orders.place(replace(order("hold", domain="last.example"), order_id="last"))
    await counted(spool, "last", 1)


async def after_both(place: QueueState, older: str, newer: str, expected: str) -> str:
    """Return what becomes of mail in a place by two orders that a process finds in force."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        hold = Hold("Admin") if isinstance(place, Held) else None
        await put(spool, place=place, hold=hold, origin=CLIENT, arrival=now() - HOUR)
        await Person(spool).gives(older, newer)
        async with delivering(spool):
            await looked_through(spool)
            await becomes(spool, expected)
    return await fate(spool)


async def after_both_in_hand(older: str, newer: str, expected: str) -> str:
    """Return what becomes of mail by two orders that are given while it is being tried."""
    spool = MemorySpool()
    giving: list[asyncio.Future[None]] = []

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA" and not giving:
            giving.append(asyncio.ensure_future(Person(spool).gives(older, newer)))
        return b"451 4.2.1 busy\r\n" if line == b"." else None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, arrival=now() - HOUR)
        async with delivering(spool):
            await history(spool, EventType.TRANSIENT_FAILURE)
            await becomes(spool, expected)
    return await fate(spool)


@pytest.mark.parametrize("older", KINDS)
@pytest.mark.parametrize(("table", "place"), PLACES, ids=["ready", "deferred", "held"])
async def test_two_orders_on_mail_that_waits(table: str, place: QueueState, older: str) -> None:
    expected = row(table, older)
    runs = (after_both(place, older, newer, expected[newer]) for newer in KINDS)
    assert dict(zip(KINDS, await asyncio.gather(*runs), strict=True)) == expected


@pytest.mark.parametrize("older", KINDS)
async def test_two_orders_on_mail_that_is_being_tried(older: str) -> None:
    expected = row(IN_HAND, older)
    runs = (after_both_in_hand(older, newer, expected[newer]) for newer in KINDS)
    assert dict(zip(KINDS, await asyncio.gather(*runs), strict=True)) == expected


@pytest.mark.parametrize("action", ["delete", "bounce", "hold"])
async def test_mail_that_an_order_ends_or_holds_is_not_counted_as_suspended(action: str) -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        for number in range(5):
            await put(spool, f"b{number}@y.example", origin=CLIENT, arrival=now() - HOUR)
        await spool.orders.place(order(action, domain="y.example"))
        await spool.orders.place(order("suspend", domain="y.example"))
        async with delivering(spool):
            await counted(spool, action, 5)
        assert await spool.orders.reports("suspend") == {}


async def test_one_recipient_is_ended_and_the_others_are_held_while_the_mail_is_tried() -> None:
    to = tuple(QueuedRecipient(parse_mailbox(f"{who}@y.example")) for who in "bc")
    spool = MemorySpool()
    giving: list[asyncio.Future[None]] = []

    async def give() -> None:
        await spool.orders.place(order("hold"))
        await spool.orders.place(order("delete", recipient="c@y.example"))

    def script(line: bytes, count: int) -> bytes | None:
        if line == b"DATA":
            giving.append(asyncio.ensure_future(give()))
        return b"451 4.2.1 busy\r\n" if line == b"." else None

    async with ScriptedMx(script) as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await put(spool, origin=CLIENT, recipients=to)
        async with delivering(spool):
            [deleted] = await history(spool, EventType.ADMIN_DELETE)
            [held] = await history(spool, EventType.HELD)
            for given in ("hold", "delete"):
                await counted(spool, given, 1)
    assert (deleted.recipients, held.recipients) == (("c@y.example",), ("b@y.example",))
    assert await waiting(spool) == [(WaitKind.HELD, "b@y.example")]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_was_held_instead_of_ended_stays_so_when_a_process_starts(
    *, cancelled: bool
) -> None:
    """It was being tried as the delete was given, and then the hold."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        await publish(spool, anywhere=to_smarthost(mx))
        await spool.orders.place(order("delete"))
        hold = order("hold")
        await spool.orders.place(hold)
        made = Hold("Admin", ordered=hold.since)
        early = now() - HOUR
        await put(spool, place=Held(now() + HOLD_LIMIT), hold=made, origin=CLIENT, arrival=early)
        if cancelled:
            await spool.orders.withdraw("hold")
        async with delivering(spool):
            await looked_through(spool)
        assert await waiting(spool) == [
            (WaitKind.HELD, "b@last.example"),
            (WaitKind.HELD, "b@y.example"),
        ]
        assert await spool.orders.reports("hold") == {}, "it was counted as it was held"
