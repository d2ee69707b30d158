"""Questions take turns: slow names leave some to others, and bulk some to transactional mail."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from postroad.dns import resolver as resolver_module
from postroad.dns.answers import DnsFailure
from postroad.dns.questions import turns as turns_module
from postroad.dns.questions.lines import Asker
from postroad.dns.resolver import Resolver
from postroad.mail.traffic import TrafficClass
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone
from postroad.testing.peers.dns_server import ZoneFault as Fault
from postroad_harness.setups.dns import TABLE, Clock


async def test_a_question_without_an_answer_gives_its_place_to_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "AT_ONCE", 10)
    monkeypatch.setattr(resolver_module, "_SLOW_AT_ONCE", 3)
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 60.0)
    silent: Table = {f"d{n}.example": Fault.SILENCE for n in range(25)}
    async with Zone({**silent, "x.example": ["MX 1 mx.x.example."]}) as zone:
        resolver = Resolver(zone.address)
        asking = [asyncio.create_task(resolver.mx(name)) for name in silent]
        async with asyncio.timeout(patient(10)):
            while not silent.keys() <= {name for name, _ in zone.asked}:
                await zone.was_asked(zone.asked.total() + 1)
            # The last have their places. Who is answered has his time, on a busy machine too.
            monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
            assert (await resolver.mx("x.example")).records
        for task in asking:
            task.cancel()


async def test_names_that_were_not_answered_leave_turns_to_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [f"silent{n}.example" for n in range(100)]
    table: Table = dict.fromkeys(silent, Fault.SILENCE)
    async with Zone({**table, "x.example": ["MX 1 mx.x.example."]}, ttl=0) as zone:
        resolver = Resolver(zone.address)
        await asyncio.gather(*(resolver.mx(name) for name in silent))
        assert resolver.is_slow(silent[0])
        assert not resolver.is_slow("x.example")
        clock.now += 10
        assert (await resolver.mx("x.example")).records, "the DNS is there"
        monkeypatch.setattr(resolver_module, "_LIFETIME", 60.0)
        asking = [asyncio.create_task(resolver.mx(name)) for name in silent]
        await asyncio.sleep(0)
        async with asyncio.timeout(patient(5)):
            assert (await resolver.mx("x.example")).records
        for task in asking:
            task.cancel()


async def test_a_name_whose_addresses_nobody_tells_is_slow_until_somebody_does(
    clock: Clock,
) -> None:
    table: Table = {"x.example": ["MX 1 mx.x.example."], "mx.x.example": Fault.SILENCE}
    async with Zone(table, ttl=60) as zone:
        resolver = Resolver(zone.address)
        await resolver.mx("x.example")
        assert not resolver.is_slow("x.example")
        await resolver.addresses("mx.x.example")
        assert resolver.is_slow("x.example")
        zone.table["mx.x.example"] = ["A 192.0.2.1"]
        clock.now += 6
        await resolver.addresses("mx.x.example")
        assert not resolver.is_slow("x.example")


BULK = TrafficClass.BULK


@asynccontextmanager
async def turns_held(
    patch: pytest.MonkeyPatch, *askers: Asker, at_once: int = 12
) -> AsyncIterator[tuple[Zone, Resolver]]:
    """Have a resolver within at which each asker has a question that is never answered."""
    patch.setattr(resolver_module, "AT_ONCE", at_once)
    patch.setattr(resolver_module, "_SLOW_AT_ONCE", 3)
    patch.setattr(resolver_module, "_PATIENCE", 60.0)
    patch.setattr(resolver_module, "_LIFETIME", 60.0)
    silent: Table = {f"silent{n}.example": Fault.SILENCE for n in range(len(askers))}
    async with Zone({**silent, **TABLE}) as zone:
        resolver = Resolver(zone.address)
        asking = [
            asyncio.create_task(resolver.mx(name, asker))
            for name, asker in zip(silent, askers, strict=True)
        ]
        await zone.was_asked(1)
        try:
            async with asyncio.timeout(patient(5)):
                yield zone, resolver
        finally:
            for task in asking:
                task.cancel()


async def test_a_domain_with_dozens_of_silent_hosts_leaves_turns_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with turns_held(monkeypatch, *[Asker("evil.example")] * 60) as (_, resolver):
        assert (await resolver.mx("x.example")).records
        assert (await resolver.addresses("a.x.example", Asker("x.example"))).addresses


async def test_bulk_leaves_turns_to_transactional(monkeypatch: pytest.MonkeyPatch) -> None:
    newsletter = [Asker(f"news{n}.example", BULK) for n in range(60)]
    async with turns_held(monkeypatch, *newsletter) as (_, resolver):
        assert (await resolver.mx("x.example")).records


@pytest.mark.parametrize(
    "others", [Asker("evil.example"), Asker("news.example", BULK)], ids=["deep", "bulk"]
)
async def test_who_needs_what_another_waits_for_waits_no_longer_than_for_his_own(
    monkeypatch: pytest.MonkeyPatch, others: Asker
) -> None:
    """Else whoever names a host in his MX records decides when others hear of it."""
    async with turns_held(monkeypatch, *[others] * 60) as (zone, resolver):
        waiting = asyncio.create_task(resolver.mx("x.example", others))
        for _ in range(5):  # until it stands in its line
            await asyncio.sleep(0)
        assert (await resolver.mx("x.example", Asker("good.example"))).records
        assert (await waiting).records
        assert zone.asked["x.example", "MX"] == 1


async def test_the_names_of_a_slow_domain_have_turns_for_slow_names_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Asker("evil.example", slow=True)
    async with turns_held(monkeypatch, *[slow] * 60) as (zone, resolver):
        waiting = asyncio.create_task(resolver.mx("x.example", slow))
        await asyncio.sleep(0)
        assert (await resolver.mx("x.example", Asker("good.example"))).records
        assert len({name for name, _ in zone.asked if name.startswith("silent")}) <= 3
        waiting.cancel()


async def test_what_has_no_turn_for_long_was_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "_LONGEST", 0.2)
    askers = [Asker(f"{n}.example") for n in range(12)]
    async with turns_held(monkeypatch, *askers) as (zone, resolver):
        assert (await resolver.mx("x.example")).trouble is DnsFailure.UNASKED
        assert not zone.asked["x.example", "MX"]
