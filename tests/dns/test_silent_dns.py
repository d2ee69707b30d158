"""Names and families that are not answered for, and a DNS that is away, hold up little else."""

import asyncio
from collections import Counter

import pytest

from postroad.dns import resolver as resolver_module
from postroad.dns.answers import DnsFailure
from postroad.dns.resolver import Resolver
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone
from postroad.testing.peers.dns_server import ZoneFault as Fault
from postroad_harness.setups.dns import Clock


async def test_a_family_that_is_never_answered_for_holds_up_nothing(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    monkeypatch.setattr(resolver_module, "_GRACE", 0.1)
    async with Zone({"half.example": ["AAAA SILENCE", "0 A 192.0.2.1"]}) as zone:
        resolver = Resolver(zone.address)
        async with asyncio.timeout(patient(10)):
            assert (await resolver.addresses("half.example")).addresses == ("192.0.2.1",)
            clock.now += 60  # it is not waited for again
            assert (await resolver.addresses("half.example")).addresses == ("192.0.2.1",)


async def test_a_family_that_was_not_answered_for_is_not_waited_for_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Zone({"half.example": ["AAAA SILENCE", "0 A 192.0.2.1"]}) as zone:
        resolver = Resolver(zone.address)
        assert (await resolver.addresses("half.example")).addresses == ("192.0.2.1",)
        clock.now += 60
        monkeypatch.setattr(resolver_module, "_LIFETIME", 60.0)
        monkeypatch.setattr(resolver_module, "_GRACE", 60.0)
        async with asyncio.timeout(patient(10)):
            assert (await resolver.addresses("half.example")).addresses == ("192.0.2.1",)


async def test_both_families_are_waited_for_when_the_first_has_nothing(clock: Clock) -> None:
    async with Zone({"four.example": ["A 192.0.2.1"]}) as zone:
        resolver = Resolver(zone.address)
        assert (await resolver.addresses("four.example")).addresses == ("192.0.2.1",)
        assert resolver.knows_addresses("four.example")
        assert not resolver.knows_addresses("other.example")


async def test_a_dns_that_is_away_is_asked_little_until_it_answers(clock: Clock) -> None:
    async with Zone({}) as zone:
        address = zone.address
    resolver = Resolver(address)
    answers = await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(50)))
    assert {answer.trouble for answer in answers} == {DnsFailure.TEMPORARY}
    answers = await asyncio.gather(*(resolver.mx(f"e{n}.example") for n in range(50)))
    assert Counter(answer.trouble for answer in answers)[DnsFailure.UNASKED] >= 40


async def test_a_dns_that_comes_back_is_asked_all_again(clock: Clock) -> None:
    silent: Table = {f"d{n}.example": Fault.SILENCE for n in range(100)}
    async with Zone({**silent, ".": Fault.SILENCE}) as zone:
        resolver = Resolver(zone.address)
        await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(20)))
        answers = await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(20, 40)))
        assert Counter(answer.trouble for answer in answers)[DnsFailure.UNASKED] >= 15
        del zone.table["."]
        clock.now += 6
        answers = await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(40, 60)))
        assert {answer.trouble for answer in answers} == {DnsFailure.TEMPORARY}


async def test_silent_names_do_not_make_the_dns_count_as_away(clock: Clock) -> None:
    silent: Table = {f"d{n}.example": Fault.SILENCE for n in range(100)}
    async with Zone({**silent, "x.example": ["MX 1 mx.x.example."]}) as zone:
        resolver = Resolver(zone.address)
        await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(50)))
        answers = await asyncio.gather(*(resolver.mx(f"d{n}.example") for n in range(50, 100)))
        assert (await resolver.mx("x.example")).records
        assert {answer.trouble for answer in answers} == {DnsFailure.TEMPORARY}, "all were asked"


async def test_a_server_that_fails_for_some_names_is_not_away(clock: Clock) -> None:
    table: Table = {f"d{n}.example": Fault.SERVFAIL for n in range(20)}
    async with Zone({**table, "x.example": ["MX 1 mx.x.example."]}) as zone:
        resolver = Resolver(zone.address)
        answers = [await resolver.mx(f"d{n}.example") for n in range(20)]
        assert {answer.trouble for answer in answers} == {DnsFailure.TEMPORARY}
        assert (await resolver.mx("x.example")).records


async def test_a_family_that_was_late_once_is_waited_for_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server far away takes a second when nobody asked of late; that is no silence."""
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    monkeypatch.setattr(resolver_module, "_GRACE", 0.05)
    async with Zone({"far.example": ["AAAA 2001:db8::1", "A 192.0.2.1"]}) as zone:
        zone.late["far.example", "AAAA"] = 0.3
        resolver = Resolver(zone.address)
        async with asyncio.timeout(patient(10)):
            assert (await resolver.addresses("far.example")).addresses == ("192.0.2.1",)
            while not resolver.knows_addresses("far.example"):
                await asyncio.sleep(0.01)
            clock.now += 61
            monkeypatch.setattr(resolver_module, "_GRACE", 60.0)
            both = ("2001:db8::1", "192.0.2.1")
            assert (await resolver.addresses("far.example")).addresses == both
