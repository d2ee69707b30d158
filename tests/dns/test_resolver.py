"""DNS look-ups: what an answer means, how long it is kept, and that failures are temporary."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from postroad.dns import client as dns_client_module
from postroad.dns import resolver as resolver_module
from postroad.dns.answers import AddressAnswer, DnsFailure
from postroad.dns.questions import turns as turns_module
from postroad.dns.questions.lines import Asker
from postroad.dns.resolver import Resolver
from postroad.mail.traffic import TrafficClass
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone
from postroad.testing.peers.dns_server import ZoneFault as Fault

TABLE: Table = {
    "x.example": ["MX 20 B.x.example.", "MX 5 a.x.example.", "A 192.0.2.1"],
    "a.x.example": ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"],
    "mapped.example": ["AAAA ::ffff:192.0.2.1", "A 192.0.2.1"],
    "null.example": ["MX 0 ."],
    "empty.example": ["A 192.0.2.9"],
    "broken.example": Fault.SERVFAIL,
    "silent.example": Fault.SILENCE,
}


class Clock:
    """The resolver's clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    for module in (resolver_module, dns_client_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=moved.monotonic))
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 0.3)
    return moved


async def test_mx_records_as_they_are(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        answer = await Resolver(zone.address).mx("x.example")
        assert set(answer.records) == {(5, "a.x.example"), (20, "b.x.example")}
        assert answer.trouble is None
        null = await Resolver(zone.address).mx("null.example")
        assert null.records == ((0, "."),)


async def test_the_system_s_name_server_is_the_one_of_now(clock: Clock, tmp_path: Path) -> None:
    """A process outlives networks: the name server of the old one is away in the next."""
    path = tmp_path / "resolv.conf"
    async with Zone(TABLE) as zone:
        resolver = Resolver(ResolvConf(path, port=zone.address[1]))
        path.write_text("nameserver 127.0.0.99\n")
        before = await resolver.addresses("empty.example")
        assert before.trouble is DnsFailure.TEMPORARY
        path.write_text("nameserver 127.0.0.1\n")
        clock.now += 60.0
        assert await resolver.addresses("empty.example") == AddressAnswer(("192.0.2.9",))


async def test_without_resolv_conf_the_server_of_this_machine_is_asked(
    clock: Clock, tmp_path: Path
) -> None:
    async with Zone(TABLE) as zone:
        resolver = Resolver(ResolvConf(tmp_path / "none", port=zone.address[1]))
        assert await resolver.addresses("empty.example") == AddressAnswer(("192.0.2.9",))


async def test_an_ipv4_address_in_an_ipv6_record_is_one_of_ipv4(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        answer = await Resolver(zone.address).addresses("mapped.example")
        assert set(answer.addresses) == {"192.0.2.1"}


async def test_addresses_of_both_families_ipv6_first(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        answer = await Resolver(zone.address).addresses("a.x.example")
        assert answer.addresses[0] == "2001:db8::1"
        assert set(answer.addresses[1:]) == {"192.0.2.1", "192.0.2.2"}


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("gone.example", DnsFailure.NO_SUCH_NAME),
        ("empty.example", DnsFailure.NO_DATA),
        ("broken.example", DnsFailure.TEMPORARY),
        ("silent.example", DnsFailure.TEMPORARY),
    ],
)
async def test_why_there_is_no_answer(clock: Clock, name: str, trouble: DnsFailure) -> None:
    async with Zone(TABLE) as zone:
        answer = await Resolver(zone.address).mx(name)
        assert (answer.records, answer.trouble) == ((), trouble)
        assert answer.detail


async def test_a_server_that_takes_longer_than_a_try_is_heard() -> None:
    """It takes five seconds: three of a turn, and two of one for slow names."""
    async with Zone(TABLE) as zone:
        for name in ("", "x.example"):
            zone.late[name, "MX" if name else "NS"] = 1.5
        answer = await Resolver(zone.address).mx("x.example")
        assert len(answer.records) == 2


async def test_no_server_at_all_is_temporary(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        address = zone.address
    answer = await Resolver(address).addresses("x.example")
    assert answer == AddressAnswer((), DnsFailure.TEMPORARY, answer.detail)


async def test_one_family_in_trouble_does_not_hide_the_other(clock: Clock) -> None:
    async with Zone(TABLE) as zone:
        answer = await Resolver(zone.address).addresses("empty.example")
        assert answer == AddressAnswer(("192.0.2.9",))


async def test_addresses_tell_that_those_of_one_family_are_unknown(clock: Clock) -> None:
    async with Zone({"half.example": ["A 192.0.2.1", "AAAA SERVFAIL"]}) as zone:
        answer = await Resolver(zone.address).addresses("half.example")
    assert (answer.addresses, answer.trouble) == (("192.0.2.1",), DnsFailure.TEMPORARY)


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


@pytest.mark.parametrize("host", ["localhost", "sink.localhost"])
async def test_localhost_is_this_machine_whatever_the_dns_says(host: str) -> None:
    async with Zone({host: ["A 192.0.2.1"]}) as zone:
        answer = await Resolver(zone.address).addresses(host)
    assert answer == AddressAnswer(("::1", "127.0.0.1"))


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


async def test_a_question_without_an_answer_gives_its_place_to_others(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "_AT_ONCE", 10)
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
    patch.setattr(resolver_module, "_AT_ONCE", at_once)
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
