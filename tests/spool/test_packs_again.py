"""
Mail that was stored together and comes again: as its process died, or nats-server was restarted.

What has ended is not handed out again, and the rest is. See `consume.unpacking`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.spool.errors import SpoolFull
from postroad.spool.interface import Put
from postroad.spool.jetstream.cluster import ended_in_packs
from postroad.spool.jetstream.consume import settle as settling
from postroad.spool.jetstream.consume.poison.suspects import SUSPECT
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.publish.publisher import Publisher
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.selection import WaitKind
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import (
    QUICK,
    crash,
    crash_process,
    first,
    kinds,
    take,
    until,
)
from postroad_harness.setups.spool.packing import (
    WAITING,
    Taking,
    delivery,
    one_shard,
    packed,
    stored,
    until_in_hand,
    until_said,
    until_stored,
    until_written,
)
from postroad_harness.setups.spool.taking import LATER, OpenJetStream

pytestmark = pytest.mark.nats

A, B, C, D, E, F = (f"{name}@y.example" for name in "abcdef")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with one_shard(tmp_path) as running:
        yield running


# ---------------------------------------------------------------- to the same process


@pytest.mark.usefixtures("operator")
async def test_what_the_server_sends_again_to_the_same_process_is_attempted_once(
    spool: JetStreamSpool, link: Link, server: NatsServer
) -> None:
    await packed(spool, link, A, B, C, D)
    taking = Taking(spool)
    await taking.until(4)
    await taking.consumer.settle(taking.of(A))
    await taking.put_off(B, LATER)
    await server.restart()
    await until_in_hand(link, 1)
    await asyncio.sleep(0.5)  # for longer than a look at what has ended takes
    await taking.consumer.settle(taking.of(C))
    assert await stored(link) == 1
    await taking.consumer.settle(taking.of(D))
    assert await stored(link) == 0
    assert taking.names == [A, B, C, D]
    assert await kinds(spool) == [WaitKind.DEFERRED]
    await taking.end()


async def test_a_record_that_was_let_go_comes_again_alone(
    spool: JetStreamSpool, link: Link
) -> None:
    await packed(spool, link, A, B, C)
    taking = Taking(spool)
    await taking.until(3)
    taking.consumer.drop(taking.of(B))
    await taking.consumer.settle(taking.of(A))
    await taking.until(4)
    assert taking.names == [A, B, B, C]
    await taking.consumer.settle(taking.of(C))
    assert await stored(link) == 1, "it is not ended before the one that was let go"
    await taking.consumer.settle(taking.of(B))
    assert await stored(link) == 0
    assert taking.names == [A, B, B, C]
    await taking.end()


async def test_a_record_that_was_let_go_last_comes_again_alone(
    spool: JetStreamSpool, link: Link
) -> None:
    await packed(spool, link, A, B, C)
    taking = Taking(spool)
    await taking.until(3)
    await taking.put_off(A, LATER)
    await taking.consumer.settle(taking.of(C))
    taking.consumer.drop(taking.of(B))
    await taking.until(4)
    assert taking.names == [A, B, B, C]
    await taking.consumer.settle(taking.of(B))
    assert await stored(link) == 0
    await taking.end()


async def test_nothing_else_begins_before_a_record_that_was_let_go_has_come_again(
    spool: JetStreamSpool, link: Link
) -> None:
    """The others have its lease, which runs out so that it comes."""
    await packed(spool, link, A, B)
    taking = Taking(spool)
    await taking.until(2)
    assert await taking.consumer.confirm(taking.of(B))
    taking.consumer.drop(taking.of(A))
    assert not await taking.consumer.confirm(taking.of(B))
    await taking.until(3)
    assert await taking.consumer.confirm(taking.of(B))
    await taking.settle_all()
    assert await stored(link) == 0
    await taking.end()


# ---------------------------------------------------------------- to another process


async def die_with_some_ended(spool: JetStreamSpool, link: Link) -> None:
    """Deliver A and B, put C off, and die while D, E and F are under way."""
    await packed(spool, link, A, B, C, D, E, F)
    taking = Taking(spool)
    await taking.until(6)
    for each in (A, B):
        await taking.consumer.settle(taking.of(each), (), [delivery(taking.of(each))])
    await taking.put_off(C, LATER)
    await until_written(spool, 2)
    await crash_process(spool, taking.consumer)


async def take_up(heir: JetStreamSpool) -> None:
    """Take D, E and F, and nothing else, until the queue has only what was put off."""
    taking = Taking(heir)
    await taking.until(3)
    await taking.settle_all()
    await until(heir, WaitKind.DEFERRED)
    assert taking.names == [D, E, F]
    await taking.end()


async def test_the_dead_owners_mail_is_taken_up_without_what_has_ended(
    open_spool: OpenJetStream, link: Link
) -> None:
    await die_with_some_ended(await open_spool(), link)
    await take_up(await open_spool())


async def test_what_has_ended_is_known_however_long_delivery_was_away(
    open_spool: OpenJetStream, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_in_packs, "_OPEN_AT_MOST", timedelta(seconds=0.5))
    monkeypatch.setattr(ended_in_packs, "_CLOCKS_DIFFER", timedelta(0))
    await die_with_some_ended(await open_spool(), link)
    await take_up(await open_spool())  # when a lease of 2 s has run out


@pytest.mark.usefixtures("operator")
async def test_after_a_power_cut_mail_is_taken_up_without_what_has_ended(
    open_spool: OpenJetStream, link: Link, server: NatsServer
) -> None:
    """The servers have forgotten that it was ever handed out."""
    await die_with_some_ended(await open_spool(), link)
    await server.restart()
    await take_up(await open_spool())


async def test_mail_of_which_everything_has_ended_is_not_handed_out(
    open_spool: OpenJetStream, link: Link
) -> None:
    """Its process died before it could say so to the servers."""
    spool = await open_spool()
    await packed(spool, link, A, B)
    consumer = take(spool)
    for each in await first(consumer, 2):
        spool.events.add(delivery(each))
    await until_written(spool, 2)
    await crash_process(spool, consumer)
    taking = Taking(await open_spool())
    await until_stored(link, 0)
    assert taking.names == []
    await taking.end()


async def test_mail_is_kept_until_the_history_can_be_read_and_then_delivered_anyway(
    open_spool: OpenJetStream, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = await open_spool()
    await packed(spool, link, A, B, C)
    taking = Taking(spool)
    await taking.until(3)
    await taking.consumer.settle(taking.of(A))
    successor = await open_spool()
    await crash_process(spool, taking.consumer)
    await link.jetstream.delete_stream("POSTROAD_EVENTS")
    heir = Taking(successor)
    with capture_logs() as lines:
        await until_said(lines, "what is left of a pack is not known", times=3)
        assert heir.names == []
        assert await stored(link) == 1
        monkeypatch.setattr(ended_in_packs, "PATIENCE", timedelta(0))
        await heir.until(3)
    assert heir.names == [A, B, C]
    [told] = [each for each in lines if each["log_level"] == "warning"]
    assert "mail that ended may be sent again" in told["event"]
    await heir.settle_all()
    assert await stored(link) == 0
    await heir.end()


# ---------------------------------------------------------------- full storage


Refuse = Callable[[bool], None]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Give a function that says whether there is no room where mail waits."""
    full, publish = False, Publisher.publish

    async def published(own: Publisher, puts: Sequence[Put], **more: Any) -> None:
        if full:
            raise SpoolFull("as told")
        await publish(own, puts, **more)

    def say(refused: bool) -> None:
        nonlocal full
        full = refused

    monkeypatch.setattr(Publisher, "publish", published)
    return say


async def test_what_cannot_be_put_off_as_storage_is_full_comes_again_alone(
    open_spool: OpenJetStream, link: Link, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before its lease would run out."""
    monkeypatch.setattr(settling, "_FIRST_RETURN", 0.5)
    spool = await open_spool(timings=replace(QUICK, ack_wait=timedelta(minutes=1)))
    await packed(spool, link, A, B, C)
    taking = Taking(spool)
    await taking.until(3)
    refuse(True)
    assert not await taking.put_off(A, LATER)
    await taking.consumer.settle(taking.of(B))
    assert taking.names == [A, B, C], "it comes when nothing of its pack is under way"
    await taking.consumer.settle(taking.of(C))
    assert (await stored(link), await stored(link, WAITING)) == (1, 0)
    await taking.until(4)
    refuse(False)
    assert await taking.put_off(A, LATER)
    assert await stored(link) == 0
    assert taking.names == [A, A, B, C]
    assert await kinds(spool) == [WaitKind.DEFERRED]
    await taking.end()


# ---------------------------------------------------------------- suspects


@pytest.mark.parametrize("refused", [False, True])
async def test_what_may_have_killed_its_processes_is_tried_apart(
    spool: JetStreamSpool, link: Link, refuse: Refuse, refused: bool
) -> None:
    """Or all together as it is, where there is no room. Over 5 s: three leases of 2 s."""
    await packed(spool, link, A, B, C)
    for _ in range(SUSPECT - 1):
        consumer = take(spool)
        async with asyncio.timeout(patient(20)):
            await first(consumer, 3)
        await crash(consumer)
    refuse(refused)
    taking = Taking(spool)
    await taking.until(3)
    assert (await stored(link), await stored(link, WAITING)) == ((1, 0) if refused else (0, 3))
    await taking.settle_all()
    await until(spool)
    assert taking.names == [A, B, C]
    await taking.end()
