"""How long an answer of the DNS is kept, and that one question serves all who ask."""

import asyncio

import pytest

from postroad.dns import resolver as resolver_module
from postroad.dns.resolver import Resolver
from postroad.testing.peers.dns_server import Zone
from postroad_harness.setups.dns import TABLE, Clock


async def test_an_answer_is_kept_for_its_time_to_live_and_no_longer(clock: Clock) -> None:
    async with Zone(TABLE, ttl=60) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("x.example")
        zone.table["x.example"] = ["MX 1 new.x.example."]
        clock.now += 59.9
        assert len((await resolver.mx("x.example")).records) == 2
        assert zone.asked["x.example", "MX"] == 1
        clock.now += 0.2
        assert (await resolver.mx("x.example")).records == ((1, "new.x.example"),)
        assert zone.asked["x.example", "MX"] == 2


async def test_an_answer_without_time_to_live_is_not_kept(clock: Clock) -> None:
    async with Zone(TABLE, ttl=0) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("x.example")
        await resolver.mx("x.example")
        assert zone.asked["x.example", "MX"] == 2


async def test_an_answer_is_not_kept_for_days(clock: Clock) -> None:
    async with Zone(TABLE, ttl=7 * 86400) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("x.example")
        clock.now += 3601
        await resolver.mx("x.example")
        assert zone.asked["x.example", "MX"] == 2


@pytest.mark.parametrize(("name", "kept"), [("gone.example", 60), ("broken.example", 5)])
async def test_what_is_not_there_is_kept_for_a_while_too(
    clock: Clock, name: str, kept: float
) -> None:
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx(name)
        asked = zone.asked[name, "MX"]
        clock.now += kept - 0.1
        await resolver.mx(name)
        assert zone.asked[name, "MX"] == asked
        zone.table[name] = ["MX 1 back.example."]
        clock.now += 0.2
        assert (await resolver.mx(name)).records == ((1, "back.example"),)


async def test_many_who_ask_at_once_are_one_question(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        answers = await asyncio.gather(*(resolver.mx("x.example") for _ in range(50)))
        assert len({answer.records for answer in answers}) == 1
        assert zone.asked["x.example", "MX"] == 1


async def test_who_gives_up_does_not_take_the_answer_from_the_others(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        first = asyncio.create_task(resolver.mx("x.example"))
        second = asyncio.create_task(resolver.mx("x.example"))
        await asyncio.sleep(0)
        first.cancel()
        assert len((await second).records) == 2
        assert zone.asked["x.example", "MX"] == 1


async def test_the_cache_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "_CACHED", 2)
    async with Zone(TABLE) as zone:
        resolver = Resolver(zone.address)
        for name in ("x.example", "gone.example", "x.example", "null.example", "x.example"):
            await resolver.mx(name)
        assert zone.asked["x.example", "MX"] == 1, "what was used last stays"
        await resolver.mx("gone.example")
        assert zone.asked["gone.example", "MX"] == 2


async def test_an_answer_lives_as_long_as_the_shortest_link_of_its_chain(clock: Clock) -> None:
    table = dict(TABLE)
    table["mail.cn.example"] = ["1 CNAME a.cn.example."]
    table["a.cn.example"] = ["3600 A 192.0.2.1"]
    table["b.cn.example"] = ["3600 A 192.0.2.2"]
    async with Zone(table) as zone:
        resolver = Resolver(zone.address)
        assert (await resolver.addresses("mail.cn.example")).addresses == ("192.0.2.1",)
        zone.table["mail.cn.example"] = ["1 CNAME b.cn.example."]
        clock.now += 1.1
        assert (await resolver.addresses("mail.cn.example")).addresses == ("192.0.2.2",)


async def test_an_alias_of_nothing_is_kept_no_longer_than_the_alias(clock: Clock) -> None:
    async with Zone({"mail.cn.example": ["1 CNAME gone.cn.example."]}) as zone:
        resolver = Resolver(zone.address)
        assert (await resolver.addresses("mail.cn.example")).addresses == ()
        zone.table["mail.cn.example"] = ["A 192.0.2.1"]
        clock.now += 1.1
        assert (await resolver.addresses("mail.cn.example")).addresses == ("192.0.2.1",)
