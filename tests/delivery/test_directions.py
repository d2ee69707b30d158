"""From an egress path and a domain to hosts, with a DNS zone of the test."""

import asyncio
from ipaddress import ip_network

import pytest

from postroad.delivery.routing import router as directions_module
from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.router import Router, RouterSettings
from postroad.delivery.routing.routes import NoRoute, Route
from postroad.dns import client as dns_client
from postroad.dns import resolver as resolver_module
from postroad.dns.resolver import Resolver
from postroad.policy.model import EgressPath, Smarthost
from postroad.policy.walls import EVERYWHERE, DeniedNetworks
from postroad.testing.patience import patient
from postroad.testing.peers.dns_server import Table, Zone, ZoneFault

BY_MX = EgressPath("relay:shop/direct")
TABLE: Table = {
    "x.example": ["MX 20 b.x.example.", "MX 5 a.x.example."],
    "a.x.example": ["A 192.0.2.1"],
    "b.x.example": ["A 192.0.2.2"],
    "implicit.example": ["A 192.0.2.3"],
    "null.example": ["MX 0 ."],
    "loop.example": ["MX 1 relay.test."],
    "behind.example": ["MX 1 a.x.example.", "MX 5 relay.test.", "MX 9 b.x.example."],
    "relay.test": ["A 192.0.2.9"],
    "away.example": ZoneFault.SERVFAIL,
    "lame.example": ["MX 1 gone.example."],
    "smart.test": ["A 192.0.2.7"],
    "alias.example": ["MX 1 alias.x.example."],
    "alias.x.example": ["CNAME a.x.example."],
    "number.example": ["MX 1 192.0.2.1."],
    "half-null.example": ["MX 0 .", "MX 10 a.x.example."],
    "silent.example": ["MX 1 s1.silent.example.", "MX 2 a.x.example.", "MX 3 s2.silent.example."],
    "s1.silent.example": ZoneFault.SILENCE,
    "s2.silent.example": ZoneFault.SILENCE,
    "repeats.example": [f"MX {n} a.x.example." for n in range(12)] + ["MX 99 b.x.example."],
    "dangling.example": [f"MX {n} gone{n}.example." for n in range(12)] + ["MX 99 b.x.example."],
}


def router(zone: Zone, *, private: bool = True, walls: DeniedNetworks = EVERYWHERE) -> Router:
    rules = AddressRules(allow_private=private, walls=walls)
    settings = RouterSettings(smtp_port=2525, rules=rules, own_names=frozenset({"relay.test"}))
    return Router(Resolver(zone.address), settings)


async def found(
    domain: str, egress_path: EgressPath = BY_MX, *, private: bool = True
) -> list[str] | str:
    """Return the hosts of a route as `name:port/address`, or the status why there is none."""
    async with Zone(TABLE) as zone:
        route = await router(zone, private=private).find(egress_path, domain)
    if isinstance(route, NoRoute):
        return str(route.status)
    return [f"{host.name}:{host.port}/{','.join(host.addresses)}" for host in route.hosts]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("x.example", ["a.x.example:2525/192.0.2.1", "b.x.example:2525/192.0.2.2"]),
        ("implicit.example", ["implicit.example:2525/192.0.2.3"]),
        ("[192.0.2.5]", ["[192.0.2.5]:2525/192.0.2.5"]),
        ("behind.example", ["a.x.example:2525/192.0.2.1"]),
        ("null.example", "5.1.10"),
        ("gone.example", "5.1.2"),
        ("loop.example", "5.4.6"),
        ("relay.test", "5.4.6"),
        ("away.example", "4.4.3"),
        ("lame.example", "4.4.4"),
        ("alias.example", ["alias.x.example:2525/192.0.2.1"]),
        ("number.example", "4.4.4"),
        ("half-null.example", "5.1.10"),
        ("repeats.example", ["a.x.example:2525/192.0.2.1", "b.x.example:2525/192.0.2.2"]),
        ("dangling.example", ["b.x.example:2525/192.0.2.2"]),
    ],
)
async def test_a_domain_s_hosts(domain: str, expected: list[str] | str) -> None:
    assert await found(domain) == expected


@pytest.mark.parametrize("domain", ["x.example", "implicit.example", "[192.0.2.5]"])
async def test_private_addresses_are_refused_unless_allowed(domain: str) -> None:
    assert await found(domain, private=False) == "5.4.4"


HALF_KNOWN: list[list[str]] = [
    ["A 10.0.0.1", "AAAA SERVFAIL"],
    ["A 10.0.0.1", "AAAA SILENCE"],
    ["AAAA fd00::1", "A SERVFAIL"],
    ["AAAA fd00::1", "A SILENCE"],
]


@pytest.mark.parametrize("addresses", HALF_KNOWN, ids=", ".join)
@pytest.mark.parametrize("by_mx", [True, False], ids=["MX", "implicit MX"])
async def test_no_mail_bounces_for_one_family_while_the_other_is_unknown(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], by_mx: bool
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 0.3)
    table: Table = {"x.example": ["MX 1 h.x.example."], "h.x.example": addresses}
    async with Zone(table) as zone:
        route = await router(zone, private=False).find(
            BY_MX, "x.example" if by_mx else "h.x.example"
        )
    assert isinstance(route, NoRoute)
    assert str(route.status) == "4.4.3"


@pytest.mark.parametrize("usable", [True, False])
async def test_a_late_answer_decides_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch, usable: bool
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    monkeypatch.setattr(resolver_module, "_GRACE", 0.05)
    monkeypatch.setattr(directions_module, "_KEPT", 0.0)
    six = "2606:4700::1111" if usable else "fd00::1"
    async with Zone({"x.example": ["A 10.0.0.1", f"AAAA {six}"]}) as zone:
        zone.late["x.example", "AAAA"] = 0.5
        routes = router(zone, private=False)
        route = await routes.find(BY_MX, "x.example")
        assert isinstance(route, NoRoute)
        assert str(route.status) == "4.4.3"
        async with asyncio.timeout(patient(10)):
            while not routes.asks_nobody(BY_MX, "x.example"):
                await asyncio.sleep(0.01)
        route = await routes.find(BY_MX, "x.example")
    assert (str(route.status) == "5.4.4") if isinstance(route, NoRoute) else usable


async def test_a_denied_address_bounces_no_mail_while_others_are_unknown() -> None:
    walls = DeniedNetworks((ip_network("192.0.2.0/24"),))
    async with Zone({"x.example": ["A 192.0.2.1", "AAAA SERVFAIL"]}) as zone:
        route = await router(zone, walls=walls).find(BY_MX, "x.example")
    assert isinstance(route, NoRoute)
    assert str(route.status) == "4.4.3"


async def test_hosts_that_were_not_looked_up_may_have_other_addresses() -> None:
    """A domain names more hosts than are looked up; those are on private addresses."""
    names = [f"h{n}.x.example" for n in range(31)]
    hosts: Table = {name: ["A 10.0.0.1"] for name in names}
    table = {**hosts, "x.example": [f"MX {n} {name}." for n, name in enumerate(names)]}
    async with Zone(table) as zone:
        route = await router(zone, private=False).find(BY_MX, "x.example")
    assert isinstance(route, NoRoute)
    assert str(route.status) == "4.4.4"


PARTIAL: Table = {
    **TABLE,
    "away.x.example": ["A SERVFAIL", "AAAA SERVFAIL"],
    "half.x.example": ["A 192.0.2.1", "AAAA SERVFAIL"],
    "waits.example": ["MX 1 a.x.example.", "MX 2 away.x.example."],
    "gone-too.example": ["MX 1 a.x.example.", "MX 2 gone.example."],
    "half-known.example": ["MX 1 half.x.example."],
    "many.example": [f"MX {n} a.x.example." for n in range(30)]
    + [f"MX {99 + n} gone{n}.example." for n in range(31)],
}


@pytest.mark.parametrize(
    ("domain", "is_partial"),
    [
        ("x.example", False),
        ("waits.example", True),
        ("gone-too.example", False),
        ("half-known.example", False),
        ("many.example", True),
    ],
)
async def test_a_route_tells_that_other_hosts_may_be_found_later(
    domain: str, is_partial: bool
) -> None:
    async with Zone(PARTIAL) as zone:
        route = await router(zone).find(BY_MX, domain)
    assert isinstance(route, Route)
    assert route.is_partial is is_partial


@pytest.mark.parametrize(
    ("other", "is_partial"), [("b.x.example", False), ("away.x.example", True)]
)
async def test_a_route_over_smarthosts_does_so_too(other: str, is_partial: bool) -> None:
    hosts = (Smarthost("a.x.example"), Smarthost(other))
    async with Zone(PARTIAL) as zone:
        route = await router(zone).find(EgressPath("relay:a/b", hosts), "any.example")
    assert isinstance(route, Route)
    assert route.is_partial is is_partial


async def test_smarthosts_may_be_anywhere_and_are_tried_in_order() -> None:
    hosts = (
        Smarthost("smart.test", 26, priority=2),
        Smarthost("127.0.0.1", 2500, priority=1),
        Smarthost("gone.example", priority=3),
        Smarthost("[::1]", 587, priority=4),
    )
    expected = ["127.0.0.1:2500/127.0.0.1", "smart.test:26/192.0.2.7", "[::1]:587/::1"]
    assert await found("any.example", EgressPath("relay:a/b", hosts), private=False) == expected


async def test_smarthosts_of_several_names_are_tried_at_each_address_once() -> None:
    hosts = (Smarthost("smart.test"), Smarthost("192.0.2.7"), Smarthost("192.0.2.7", 587))
    expected = {"25": 1, "587": 1}
    async with Zone(TABLE) as zone:
        route = await router(zone).find(EgressPath("relay:a/b", hosts), "any.example")
    assert isinstance(route, Route)
    assert {str(host.port): len(host.addresses) for host in route.hosts} == expected


async def test_mail_waits_for_a_smarthost_on_a_denied_network() -> None:
    """Who writes a Relay must not reach what only the relay's pods can reach."""
    async with Zone(TABLE) as zone:
        walls = DeniedNetworks((ip_network("192.0.2.0/24"), ip_network("169.254.0.0/16")))
        routes = router(zone, walls=walls)
        for host in ("169.254.169.254", "a.x.example"):
            way = EgressPath("relay:a/b", (Smarthost(host),))
            route = await routes.find(way, "any.example")
            assert isinstance(route, NoRoute)
            assert str(route.status) == "4.7.1"
            assert host in route.reason
        both = EgressPath("relay:a/c", (Smarthost("169.254.169.254"), Smarthost("127.0.0.1", 26)))
        route = await routes.find(both, "any.example")
        assert isinstance(route, Route)
        assert [host.name for host in route.hosts] == ["127.0.0.1"]


async def test_no_smarthost_that_can_be_found_is_temporary() -> None:
    egress_path = EgressPath("relay:a/b", (Smarthost("gone.example"),))
    assert await found("any.example", egress_path) == "4.4.3"


async def test_a_burst_asks_once_and_each_way_out_has_its_own_route() -> None:
    async with Zone(TABLE) as zone:
        egress_paths = router(zone)
        assert egress_paths.known(BY_MX, "x.example") is None
        route = await egress_paths.find(BY_MX, "x.example")
        assert isinstance(route, Route)
        assert egress_paths.known(BY_MX, "x.example") is route
        assert egress_paths.known(BY_MX, "implicit.example") is None
        assert egress_paths.known(EgressPath("relay:shop/other"), "x.example") is None
        assert route.site == "(a|b).x.example"


@pytest.mark.parametrize("way", ["mx", "smarthosts"])
async def test_a_host_whose_addresses_nobody_tells_holds_up_no_other(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 60.0)
    monkeypatch.setattr(directions_module, "_GRACE", 0.1)
    hosts = ("s1.silent.example", "a.x.example", "s2.silent.example")
    smarthosts = tuple(Smarthost(host, priority=n) for n, host in enumerate(hosts))
    egress_path = BY_MX if way == "mx" else EgressPath("relay:a/b", smarthosts)
    async with asyncio.timeout(patient(10)):
        found_hosts = await found("silent.example", egress_path)
    assert isinstance(found_hosts, list)
    assert [host.partition(":")[0] for host in found_hosts] == ["a.x.example"]


async def test_hosts_that_are_known_to_be_silent_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 0.3)
    monkeypatch.setattr(dns_client, "_TROUBLE", 0.0)
    async with Zone(TABLE) as zone:
        egress_paths = router(zone)
        await egress_paths.find(BY_MX, "silent.example")
        monkeypatch.setattr(resolver_module, "_LIFETIME", 60.0)
        monkeypatch.setattr(directions_module, "_GRACE", 60.0)
        async with asyncio.timeout(patient(5)):
            route = await egress_paths.find(BY_MX, "silent.example")
    assert isinstance(route, Route)
    assert [host.name for host in route.hosts] == ["a.x.example"]


def silent_hosts(prefix: str, count: int) -> Table:
    """Return a domain that names so many hosts which nobody can look up."""
    hosts = [f"{prefix}{n}.many.example" for n in range(count)]
    records = [f"MX {n} {host}." for n, host in enumerate(hosts)]
    return {"many.example": records} | dict.fromkeys(hosts, ZoneFault.SILENCE)


async def test_a_domain_that_names_silent_hosts_costs_few_questions_and_is_slow_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 0.3)
    async with Zone({**TABLE, **silent_hosts("a", 30)}, ttl=0) as zone:
        egress_paths = router(zone)
        assert isinstance(await egress_paths.find(BY_MX, "many.example"), NoRoute)
        asked = {name for name, _ in zone.asked if name.startswith("a")}
        assert asked == {f"a{n}.many.example" for n in range(10)}
        zone.table.update(silent_hosts("b", 30))
        assert egress_paths.is_slow(BY_MX, "many.example"), "whatever it names next"
        assert not egress_paths.is_slow(BY_MX, "x.example")
        zone.table["many.example"] = ["MX 1 a.x.example."]
        assert isinstance(await egress_paths.find(BY_MX, "many.example"), Route)
        assert not egress_paths.is_slow(BY_MX, "many.example")


async def test_a_silent_host_does_not_end_the_search_for_others() -> None:
    table = {**TABLE, **silent_hosts("a", 2)}  # ten at a time are asked for
    gone = [f"MX {n} gone{n}.many.example." for n in range(12)]
    silent = [f"MX {n} a{n}.many.example." for n in range(2)]
    table["many.example"] = [*silent, *gone, "MX 99 a.x.example."]
    async with Zone(table) as zone:
        egress_paths = router(zone)
        assert isinstance(await egress_paths.find(BY_MX, "many.example"), Route)
        assert not egress_paths.is_slow(BY_MX, "many.example")
