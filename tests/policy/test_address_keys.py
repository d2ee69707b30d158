"""Lists of addresses and networks are looked up by key, and mean the same as their patterns."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from postroad.policy.model import Client, ObjectKey
from postroad.policy.patterns import address_keys, address_matches, any_matches
from postroad.policy.snapshot import Snapshot

DOMAINS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
LOCAL_PARTS = st.sampled_from(["a", "A", '"a"', r'"\a"', '"*"', "*", '""', '"a@b"', "a.b"])
DOMAIN_PATTERNS = st.one_of(DOMAINS, DOMAINS.map("*.{}".format), st.just("*"))
PATTERNS = st.one_of(
    st.builds("{}@{}".format, LOCAL_PARTS, DOMAIN_PATTERNS), st.sampled_from(["*", "a.b", "@a.b"])
)


@given(st.lists(PATTERNS, max_size=6), LOCAL_PARTS, DOMAINS)
def test_a_look_up_finds_what_some_pattern_fits(
    patterns: list[str], local_part: str, domain: str
) -> None:
    fits = any(address_matches(each, local_part, domain) for each in patterns)
    assert any_matches(address_keys(patterns), local_part, domain) is fits


NETWORKS = st.builds(
    lambda number, bits: ipaddress.ip_network((number, bits), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(st.lists(NETWORKS, max_size=3), max_size=4), st.integers(0, 2**32 - 1))
def test_the_clients_of_an_address_are_those_whose_networks_hold_it(
    networks: list[list[ipaddress.IPv4Network]], number: int
) -> None:
    address = ipaddress.IPv4Address(number)
    clients = tuple(
        Client(ObjectKey("x", f"c{at}"), networks=tuple(each)) for at, each in enumerate(networks)
    )
    found = Snapshot.of(1, clients=clients).clients_by_network.of(address)
    lengths = [
        (-network.prefixlen, client.key.name)
        for client in clients
        for network in client.networks
        if address in network
    ]
    assert [client.key.name for client in found] == [name for _, name in sorted(lengths)]
    other = ipaddress.IPv6Address(number)
    assert other not in Snapshot.of(1, clients=clients).clients_by_network
