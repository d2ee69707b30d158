"""Unreadable objects: mail is sent only by paths that no such object may change."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest

from postroad.policy.codec import encode_entry
from postroad.policy.model import (
    Client,
    Credentials,
    Domain,
    EgressPath,
    Entry,
    ObjectKey,
    Receive,
    Relay,
    Smarthost,
)
from postroad.spool.event import EventType
from postroad.spool.interface import HOLD_LIMIT, Held, Spool
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import Hold, Origin, QueueRecord
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import (
    CLIENT,
    HOUR,
    delivering,
    history,
    order,
    send,
    to_smarthost,
    waiting,
)
from postroad.testing.queue.queued_mail import now, put

OURS = keyrings()
FOREIGN = keyrings(b"z")
SECRET = EgressPath(
    "relay:shop/smart", (Smarthost("s.example"),), credentials=Credentials("u", "p")
)


async def bring(
    spool: Spool, entries: Mapping[str, Entry], unreadable: Mapping[str, Entry]
) -> None:
    """Bring objects into force of which delivery cannot read some: they have another key."""
    published = {key: encode_entry(key, entry, OURS) for key, entry in entries.items()}
    published |= {key: encode_entry(key, entry, FOREIGN) for key, entry in unreadable.items()}
    await spool.config.publish(published)


def relay(name: str, egress_path: EgressPath, *destinations: str, namespace: str = "shop") -> Relay:
    return Relay(ObjectKey(namespace, name), destinations, egress_path)


async def deferred(spool: Spool, count: int) -> list[QueueRecord]:
    """Wait until so many records are put off, and return them."""
    async with asyncio.timeout(patient(10)):
        while True:
            chosen = Selection(kinds=frozenset({WaitKind.DEFERRED}))
            found = [queued.record async for queued in spool.waiting.list(chosen)]
            if len(found) == count:
                return found
            await asyncio.sleep(0.01)


async def test_no_other_relay_takes_the_mail_of_one_that_cannot_be_read() -> None:
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        catch_all = relay("all", to_smarthost(mx), "*")
        smart = relay("smart", SECRET, "ext.example")
        await bring(spool, {"relay.shop.all": catch_all}, {"relay.shop.smart": smart})
        await send(spool, "b@ext.example", "b@y.example")
        async with delivering(spool):
            records = await deferred(spool, 2)
        assert mx.messages == []
    assert {record.attempts for record in records} == {0}
    lasts = [record.recipients[0].last for record in records]
    assert {(last.status, last.text) for last in lasts if last} == {
        ("4.3.5", "the configuration cannot be read completely")
    }


async def test_mail_goes_on_that_no_unreadable_object_concerns() -> None:
    """By a Relay that is named, by a Domain's own route, and in another namespace."""
    spool = MemorySpool()
    async with ScriptedMx() as mx:
        egress_path = to_smarthost(mx)
        known: dict[str, Entry] = {
            "relay.shop.all": relay("all", egress_path, "*"),
            "relay.other.all": relay("all", egress_path, "*", namespace="other"),
            "client.shop.till": Client(ObjectKey("shop", "till"), relay=ObjectKey("shop", "all")),
            "domain.shop.in": Domain(
                ObjectKey("shop", "in"), "in.example", receive=Receive(egress_path)
            ),
        }
        await bring(spool, known, {"relay.shop.smart": relay("smart", SECRET, "ext.example")})
        await send(spool, "named@y.example")
        await send(spool, "routed@in.example", origin=Origin(client="shop/x", namespace="shop"))
        await send(spool, "other@y.example", origin=Origin(client="other/x", namespace="other"))
        async with delivering(spool):
            messages = await asyncio.wait_for(mx.received(3), patient(10))
    to = {message.recipients[0] for message in messages}
    assert to == {
        b"RCPT TO:<named@y.example>",
        b"RCPT TO:<routed@in.example>",
        b"RCPT TO:<other@y.example>",
    }


async def test_what_expires_does_so_though_an_object_cannot_be_read() -> None:
    spool = MemorySpool()
    await bring(spool, {}, {"relay.shop.smart": relay("smart", SECRET, "*")})
    async with delivering(spool):
        await put(spool, origin=CLIENT, deadline=now() + timedelta(seconds=2))
        [event] = await history(spool, EventType.EXPIRATION)
        [notification] = await deferred(spool, 1)
    assert event.reason == "expired"
    assert notification.reverse_path is None, "which waits, too, as nobody knows its way"


async def test_what_is_let_out_of_a_hold_late_keeps_the_try_it_has_to_come() -> None:
    spool = MemorySpool()
    await bring(spool, {}, {"relay.shop.smart": relay("smart", SECRET, "*")})
    place, past = Held(now() + HOLD_LIMIT), now() - HOUR
    await put(spool, place=place, hold=Hold("Admin"), origin=CLIENT, deadline=past)
    await spool.orders.place(order("release"))
    async with delivering(spool):
        [record] = await deferred(spool, 1)
    assert record.hold is None


@pytest.mark.parametrize("action", ["bounce", "delete"])
async def test_orders_on_mail_are_obeyed_though_an_object_cannot_be_read(action: str) -> None:
    spool = MemorySpool()
    await bring(spool, {}, {"relay.shop.smart": relay("smart", SECRET, "*")})
    await put(spool, origin=CLIENT)
    await spool.orders.place(order(action))
    ends = {"bounce": EventType.ADMIN_BOUNCE, "delete": EventType.ADMIN_DELETE}
    async with delivering(spool):
        await history(spool, ends[action])
    assert len(await waiting(spool)) == (1 if action == "bounce" else 0), "a notification"
