"""State that processes share: configuration, quota counters, orders, sites, sessions."""

import asyncio
from datetime import datetime, timedelta

import pytest

from postroad.spool.agreement import Order, SiteKind, SiteView
from postroad.spool.interface import Held, Spool
from postroad.spool.selection import Selection
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import OpenSpool, now, put

LATER = timedelta(hours=1)


def since(_: str = "") -> datetime:
    """When somebody may first have counted."""
    return now() - LATER


def end() -> datetime:
    return now() + LATER


async def test_configuration_reaches_every_process(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    following = aiter(other.config.follow())
    generation = await one.config.publish({"relay.default.a": b"1", "relay.default.b": b"2"})
    state = await anext(following)
    assert (state.generation, dict(state.entries)) == (
        generation,
        {"relay.default.a": b"1", "relay.default.b": b"2"},
    )
    await one.config.publish({"relay.default.b": b"3"})
    state = await anext(following)
    assert dict(state.entries) == {"relay.default.b": b"3"}
    assert state.generation > generation


async def test_publishing_the_same_again_is_no_new_generation(spool: Spool) -> None:
    first = await spool.config.publish({"client.default.a": b"1"})
    assert await spool.config.publish({"client.default.a": b"1"}) == first


async def test_a_publisher_that_starts_again_finds_what_is_published(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    assert await other.config.last() is None
    generation = await one.config.publish({"relay.default.a": b"1", "relay.default.b": b"2"})
    last = await other.config.last()
    assert last is not None
    assert (last.generation, dict(last.entries)) == (
        generation,
        {"relay.default.a": b"1", "relay.default.b": b"2"},
    )


async def test_leases_never_exceed_the_maximum(open_spool: OpenSpool) -> None:
    spools = [await open_spool() for _ in range(3)]

    async def take_all(spool: Spool) -> int:
        total = 0
        while got := await spool.usage.lease(
            "k", amount=7, maximum=100, since=since(), expires=end()
        ):
            total += got
        return total

    assert sum(await asyncio.gather(*map(take_all, spools))) == 100
    await spools[0].usage.give_back("k", 10, since=since())
    assert await spools[1].usage.used("k", since=since()) == 90
    assert (
        await spools[1].usage.lease("k", amount=50, maximum=100, since=since(), expires=end()) == 10
    )


async def test_a_lease_is_all_that_is_needed_or_nothing(spool: Spool) -> None:
    assert (
        await spool.usage.lease("k", amount=7, maximum=10, since=since(), expires=end(), needed=7)
        == 7
    )
    assert (
        await spool.usage.lease("k", amount=7, maximum=10, since=since(), expires=end(), needed=4)
        == 0
    )
    assert (
        await spool.usage.lease("k", amount=7, maximum=10, since=since(), expires=end(), needed=2)
        == 3
    )


async def test_nothing_is_spent_for_good_that_may_come_back(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    hour = timedelta(hours=1)

    async def spent(amount: int, quiet: timedelta) -> bool:
        return await other.usage.spent("k", amount=amount, maximum=10, since=since(), quiet=quiet)

    await one.usage.lease("k", amount=4, maximum=10, since=since(), expires=end())
    assert [await spent(amount, hour) for amount in (6, 7)] == [False, True]
    await one.usage.lease("k", amount=4, maximum=10, since=since(), expires=end(), final=False)
    await one.usage.lease("k", amount=2, maximum=10, since=since(), expires=end())
    assert [await spent(1, quiet) for quiet in (hour, timedelta())] == [False, True]
    await one.usage.give_back("k", 3, since=since())
    assert [await spent(4, quiet) for quiet in (hour, timedelta())] == [False, True]
    assert not await spent(3, timedelta())


async def test_usage_can_be_looked_through(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    for key, amount in (("shop.a.messages.60.1.x=40y", 3), ("sha256.b.messages.60.1.z", 4)):
        await one.usage.lease(key, amount=amount, maximum=10, since=since(), expires=end())
    assert {key: used async for key, used in other.usage.all(since)} == {
        "shop.a.messages.60.1.x=40y": 3,
        "sha256.b.messages.60.1.z": 4,
    }


async def test_a_login_noted_by_one_is_known_to_all(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    one.past_logins.note("a" * 32)
    async with asyncio.timeout(patient(5)):
        while not await other.past_logins.noted("a" * 32):
            await asyncio.sleep(0.02)
    for _ in range(2):  # whoever asks makes nothing known
        assert not await other.past_logins.noted("b" * 32)
    assert [key async for key, _ in other.usage.all(since)] == []


async def test_an_order_reaches_every_process_and_ends(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    start = now()
    order = Order(
        "o1", "hold", Selection(domain="y.example"), start, start + LATER, start, "a reason"
    )
    seen = asyncio.ensure_future(other.orders.changed())
    await asyncio.sleep(0)
    await one.orders.place(order)
    await asyncio.wait_for(seen, patient(5))
    assert list(other.orders.in_force(now())) == [order]
    assert list(other.orders.in_force(start + 2 * LATER)) == []
    await other.orders.report("o1", "process-1", 12)
    assert await one.orders.reports("o1") == {"process-1": 12}
    changed = asyncio.ensure_future(other.orders.changed())
    await asyncio.sleep(0)
    assert await one.orders.withdraw("o1")
    await asyncio.wait_for(changed, patient(5))
    assert list(other.orders.in_force(now())) == []


async def test_a_site_learnt_by_one_is_known_to_it(spool: Spool) -> None:
    assert spool.sites.lookup("y.example") == ""
    await spool.sites.learn("y.example", "mx.y.example")
    assert spool.sites.lookup("y.example") == "mx.y.example"


async def test_sessions_tell_their_generation(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    await one.sessions.announce(4, stale=True)
    await other.sessions.announce(5)
    live = {s.process: (s.generation, s.stale) for s in await one.sessions.live()}
    assert live == {"process-0": (4, True), "process-1": (5, False)}


@pytest.mark.parametrize("kind", SiteKind)
async def test_a_site_s_record_has_the_changes_of_all(
    open_spool: OpenSpool, kind: SiteKind
) -> None:
    spools = [await open_spool() for _ in range(3)]
    counts: list[int] = []

    async def count(spool: Spool) -> None:
        def one_more(view: SiteView) -> bytes:
            counts.append(int(view.record or b"0") + 1)
            return b"%d" % counts[-1]

        for _ in range(10):
            await spool.site_records.change(kind, "(mx1|mx2).example", one_more, lifetime=LATER)

    await asyncio.gather(*map(count, spools))
    assert counts[-1] == 30


async def test_news_of_sites_are_records_of_one_kind(spool: Spool) -> None:
    records = spool.site_records
    for kind in SiteKind:
        value = kind.encode()
        await records.change(kind, "mx.example", lambda _, v=value: v, lifetime=LATER)  # type: ignore[misc]
    assert await records.news(SiteKind.CONNECTIONS) == [b"connections"]
    assert await records.news(SiteKind.MESSAGES) == [b"messages"]


async def test_records_of_a_site_tell_who_lives(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    views: list[SiteView] = []

    def look(view: SiteView) -> bytes:
        views.append(view)
        return b"claimed"

    kind = SiteKind.CONNECTIONS
    await one.site_records.change(kind, "mx.example", look, lifetime=LATER)
    assert (views[-1].record, views[-1].certain) == (b"", True)
    await other.site_records.change(kind, "mx.example", look, lifetime=LATER)
    assert views[-1].record == b"claimed"
    assert views[-1].live >= {one.site_records.owner, other.site_records.owner}
    await one.close()
    await other.site_records.change(kind, "mx.example", look, lifetime=LATER)
    assert one.site_records.owner not in views[-1].live


async def test_orders_and_waiting_mail_are_stamped_by_one_clock(open_spool: OpenSpool) -> None:
    one, other = await open_spool(), await open_spool()
    start = now()
    placed = start - LATER  # by a clock that is wrong
    await put(one, "b@before.example", place=Held(start + LATER))
    seen = asyncio.ensure_future(other.orders.changed())
    await asyncio.sleep(0)
    await one.orders.place(Order("o1", "release", Selection(), placed, start + LATER, start))
    await asyncio.wait_for(seen, patient(5))
    await put(one, "b@after.example", place=Held(start + LATER))
    [order] = other.orders.in_force(now())
    stored = {q.record.domain: q.stored async for q in other.waiting.list(Selection())}
    assert stored["before.example"] <= order.since <= stored["after.example"]
