"""The hosts for a domain and their order, by its DNS records (RFC 5321 §5)."""

import random
from collections import Counter
from dataclasses import replace
from ipaddress import ip_network

import pytest

from postroad.delivery.routing.addresses import MAX_ADDRESSES, AddressRules, usable_addresses
from postroad.delivery.routing.routes import (
    MAX_HOSTS,
    NoRoute,
    Route,
    literal_route,
    mx_route,
    order_mx,
    order_smarthosts,
    roll_up,
)
from postroad.delivery.settling.unattempted import nowhere
from postroad.dns.answers import AddressAnswer, DnsFailure, MxAnswer
from postroad.policy.model import ClaimBasis, Domain, ObjectKey, Reach, Smarthost
from postroad.policy.snapshot import Snapshot
from postroad.policy.walls import DeniedNetworks

DICE = random.Random(1)
PUBLIC, ANY = AddressRules(allow_private=False), AddressRules(allow_private=True)
NOBODY: frozenset[str] = frozenset()


def ordered(*records: tuple[int, str], own: frozenset[str] = NOBODY) -> list[str] | str:
    answer = order_mx("x.example", MxAnswer(records), own, DICE)
    return str(answer.status) if isinstance(answer, NoRoute) else list(answer)


def test_mx_hosts_are_tried_by_preference() -> None:
    assert ordered((20, "b"), (5, "a"), (100, "c")) == ["a", "b", "c"]


def test_equal_preference_is_shuffled_and_each_host_comes_first_equally_often() -> None:
    orders = [ordered((10, "a"), (10, "b"), (10, "c"), (20, "last")) for _ in range(600)]
    firsts = Counter(order[0] for order in orders)
    assert set(firsts) == {"a", "b", "c"}
    assert min(firsts.values()) > 150
    assert {order[3] for order in orders} == {"last"}


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (DnsFailure.NO_DATA, ["x.example"]),
        (DnsFailure.NO_SUCH_NAME, "5.1.2"),
        (DnsFailure.TEMPORARY, "4.4.3"),
    ],
)
def test_no_mx_records(trouble: DnsFailure, expected: list[str] | str) -> None:
    answer = order_mx("x.example", MxAnswer((), trouble, "why"), NOBODY, DICE)
    assert (str(answer.status) if isinstance(answer, NoRoute) else list(answer)) == expected


def test_a_null_mx_takes_no_mail() -> None:
    assert ordered((0, ".")) == "5.1.10"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("c", ["a", "b"]),
        ("b", ["a"]),
        ("a", "5.4.6"),
        ("elsewhere", ["a", "b", "c"]),
    ],
)
def test_behind_ourselves_mail_would_come_back(own: str, expected: list[str] | str) -> None:
    assert ordered((1, "a"), (2, "b"), (3, "c"), own=frozenset({own})) == expected


def test_mail_that_comes_back_waits_while_the_claim_of_its_domain_is_not_proven() -> None:
    route = order_mx("x.example", MxAnswer(((1, "me"),)), frozenset({"me"}), DICE)
    assert isinstance(route, NoRoute)
    claimed = Domain(
        ObjectKey("shop", "d"), "x.example", claim=ClaimBasis.NONE, reach=Reach.STRANGERS
    )
    sends_only = replace(claimed, claim=ClaimBasis.MX, reach=Reach.EVERYBODY)
    for domains, status in (((claimed,), "4.4.6"), ((sends_only,), "5.4.6"), ((), "5.4.6")):
        assert str(nowhere(route, "x.example", Snapshot.of(1, domains=domains)).status) == status


def test_as_good_as_ourselves_is_no_better_than_ourselves() -> None:
    assert ordered((1, "a"), (1, "b"), own=frozenset({"b"})) == "5.4.6"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a01:203", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::808:808", False),
        ("2002:7f00:1::1", False),
        ("2002:a01:203::1", False),
        ("2002:808:808::1", True),
        ("2001:0:4136:e378:8000:63bf:80ff:fefe", False),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("fec0::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
    ],
)
def test_mail_is_sent_to_public_addresses_unless_told_otherwise(address: str, public: bool) -> None:
    answer = AddressAnswer((address,))
    assert bool(usable_addresses(answer, PUBLIC)) is public
    assert usable_addresses(answer, ANY) == (address,)


METADATA = "169.254.0.0/16"
LOOPBACK = ["127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("address", "denied", "allowed", "admitted"),
    [
        ("169.254.169.254", [METADATA], [], False),
        ("::ffff:169.254.169.254", [METADATA], [], False),
        ("64:ff9b::a9fe:a9fe", [METADATA], [], False),
        ("2002:a9fe:a9fe::1", [METADATA], [], False),
        ("10.96.0.1", [METADATA], [], True),
        ("10.96.0.1", ["10.96.0.0/12"], [], False),
        ("10.96.3.4", ["10.96.0.0/12"], ["10.96.3.4/32"], True),
        ("10.96.3.5", ["10.96.0.0/12"], ["10.96.3.4/32"], False),
        ("64:ff9b::0a60:0304", ["10.96.0.0/12"], ["10.96.3.4/32"], True),
        ("fd00:ec2::254", ["fd00:ec2::/32"], [], False),
        ("8.8.8.8", ["8.8.8.0/24"], [], False),
        # The kernel connects to loopback.
        ("0.0.0.0", LOOPBACK, [], False),
        ("0.1.2.3", LOOPBACK, [], False),
        ("::", LOOPBACK, [], False),
        ("::ffff:0.0.0.0", LOOPBACK, [], False),
        ("64:ff9b::", LOOPBACK, [], False),
        ("2002::1", LOOPBACK, [], False),
        ("0.0.0.0", [METADATA], [], True),
        ("::", ["127.0.0.0/8"], [], True),
        ("0.0.0.0", LOOPBACK, ["127.0.0.0/8"], True),
        ("1.0.0.0", LOOPBACK, [], True),
        ("::2", LOOPBACK, [], True),
    ],
)
def test_to_a_denied_network_nothing_is_sent_however_its_address_is_written(
    address: str, denied: list[str], allowed: list[str], admitted: bool
) -> None:
    walls = DeniedNetworks(tuple(map(ip_network, denied)), tuple(map(ip_network, allowed)))
    rules = AddressRules(allow_private=True, walls=walls)
    assert bool(usable_addresses(AddressAnswer((address,)), rules)) is admitted


def test_a_host_with_very_many_addresses_is_tried_at_some() -> None:
    many = AddressAnswer(tuple(f"8.8.8.{n}" for n in range(50)))
    assert usable_addresses(many, PUBLIC) == many.addresses[:MAX_ADDRESSES]


def test_sites_with_long_names_stay_apart() -> None:
    many = [f"host-number-{n:03}.example" for n in range(20)]
    one, two = roll_up([*many, "x.example"]), roll_up([*many, "y.example"])
    assert len(one) == len(two) == 120
    assert one != two
    assert roll_up(["x" * 300 + ".example"]) != roll_up(["x" * 300 + ".test"])


SIX = tuple(f"2606:4700::{n}" for n in range(1, 12))


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        ((*SIX[:4], "8.8.8.8"), [SIX[0], "8.8.8.8", *SIX[1:4]]),
        ((SIX[0], "8.8.8.8", "8.8.4.4"), [SIX[0], "8.8.8.8", "8.8.4.4"]),
        (("8.8.8.8", "8.8.8.8", "8.8.4.4"), ["8.8.8.8", "8.8.4.4"]),
        ((*SIX, "8.8.8.8"), [SIX[0], "8.8.8.8", *SIX[1:7]]),
        ((), []),
    ],
)
def test_both_families_of_a_host_get_a_share(
    addresses: tuple[str, ...], expected: list[str]
) -> None:
    assert list(usable_addresses(AddressAnswer(addresses), PUBLIC)) == expected


def test_a_host_with_several_preferences_is_one_host() -> None:
    assert ordered((10, "a"), (20, "a"), (5, "b"), (30, "a")) == ["b", "a"]


def test_an_address_that_several_hosts_have_is_tried_once() -> None:
    shared = AddressAnswer(("8.8.8.8", "8.8.4.4"))
    found = route(a=shared, b=AddressAnswer(("8.8.4.4",)), c=AddressAnswer(("8.8.4.4", "1.1.1.1")))
    assert isinstance(found, Route)
    named = [(host.name, host.addresses) for host in found.hosts]
    assert named == [("a", ("8.8.8.8", "8.8.4.4")), ("c", ("1.1.1.1",))]
    assert found.site == "(a|b|c)", "limits are kept for all of them"


def test_hosts_are_counted_once_it_is_known_which_can_be_used() -> None:
    gone = {f"gone{n}": AddressAnswer((), DnsFailure.NO_SUCH_NAME) for n in range(MAX_HOSTS)}
    many = {f"mx{n}": AddressAnswer((f"8.8.8.{n}",)) for n in range(MAX_HOSTS + 5)}
    found = route(**gone, **many)
    assert isinstance(found, Route)
    assert [host.name for host in found.hosts] == list(many)[:MAX_HOSTS]


def route(**answers: AddressAnswer) -> Route | NoRoute:
    return mx_route(list(answers), answers, port=25, rules=PUBLIC)


def test_hosts_without_an_address_are_passed_over() -> None:
    found = route(
        a=AddressAnswer((), DnsFailure.NO_SUCH_NAME),
        b=AddressAnswer(("2606:4700::1111", "10.0.0.1", "8.8.8.8")),
    )
    assert isinstance(found, Route)
    [host] = found.hosts
    assert (host.name, host.port, host.addresses) == ("b", 25, ("2606:4700::1111", "8.8.8.8"))


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (AddressAnswer(("10.0.0.1",)), "5.4.4"),
        (AddressAnswer((), DnsFailure.TEMPORARY, "the DNS does not answer"), "4.4.3"),
        (AddressAnswer((), DnsFailure.NO_SUCH_NAME), "4.4.4"),
    ],
)
def test_mx_hosts_that_cannot_be_used(answer: AddressAnswer, status: str) -> None:
    found = route(a=answer)
    assert isinstance(found, NoRoute)
    assert str(found.status) == status
    assert found.is_permanent is (status[0] == "5")


def test_temporary_trouble_with_one_host_leaves_the_question_open() -> None:
    found = route(
        a=AddressAnswer(("10.0.0.1",)), b=AddressAnswer((), DnsFailure.TEMPORARY, "silent")
    )
    assert isinstance(found, NoRoute)
    assert not found.is_permanent


def test_a_domain_with_neither_mx_nor_address_takes_no_mail() -> None:
    answers = {"x.example": AddressAnswer((), DnsFailure.NO_DATA)}
    found = mx_route(["x.example"], answers, port=25, rules=PUBLIC, implicit=True)
    assert isinstance(found, NoRoute)
    assert str(found.status) == "5.1.2"


@pytest.mark.parametrize(
    ("domain", "allow", "expected"),
    [
        ("x.example", False, None),
        ("[8.8.8.8]", False, "8.8.8.8"),
        ("[IPv6:2606:4700::1111]", False, "2606:4700::1111"),
        ("[127.0.0.1]", False, "5.4.4"),
        ("[127.0.0.1]", True, "127.0.0.1"),
        ("[IPv6:::1]", False, "5.4.4"),
    ],
)
def test_an_address_literal_is_its_own_host(domain: str, allow: bool, expected: object) -> None:
    found = literal_route(domain, port=25, rules=AddressRules(allow))
    if isinstance(found, Route):
        assert found.hosts[0].addresses == (expected,)
    else:
        assert (str(found.status) if found else None) == expected


@pytest.mark.parametrize(
    ("hosts", "site"),
    [
        (["mx.x.example"], "mx.x.example"),
        (["mx2.x.example", "mx1.x.example"], "(mx1|mx2).x.example"),
        (["mx1.x.example", "mx1.x.example"], "mx1.x.example"),
        (["a.x.example", "a.y.example"], "(a.x|a.y).example"),
        (["a.example", "b.test"], "(a.example|b.test)"),
        (["x.example", "a.x.example"], "(a.x|x).example"),
    ],
)
def test_domains_with_the_same_mx_hosts_are_one_site(hosts: list[str], site: str) -> None:
    assert roll_up(hosts) == site
    assert roll_up(hosts[::-1]) == site


def test_smarthosts_come_by_priority_and_by_weight_among_equals() -> None:
    hosts = [
        Smarthost("backup", priority=10, weight=100),
        Smarthost("large", priority=1, weight=3),
        Smarthost("small", priority=1, weight=1),
    ]
    orders = [[host.host for host in order_smarthosts(hosts, DICE)] for _ in range(2000)]
    assert {order[2] for order in orders} == {"backup"}
    share = sum(order[0] == "large" for order in orders) / len(orders)
    assert 0.70 < share < 0.80
