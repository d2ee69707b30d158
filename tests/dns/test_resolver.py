"""DNS look-ups: what an answer means, and that failures are temporary."""

from pathlib import Path

import pytest

from postroad.dns.answers import AddressAnswer, DnsFailure
from postroad.dns.resolver import Resolver
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.testing.peers.dns_server import Zone
from postroad_harness.setups.dns import TABLE, Clock


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


@pytest.mark.parametrize("host", ["localhost", "sink.localhost"])
async def test_localhost_is_this_machine_whatever_the_dns_says(host: str) -> None:
    async with Zone({host: ["A 192.0.2.1"]}) as zone:
        answer = await Resolver(zone.address).addresses(host)
    assert answer == AddressAnswer(("::1", "127.0.0.1"))
