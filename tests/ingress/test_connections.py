"""The table of connections: who gets a slot, and that every slot is freed."""

import dataclasses
import ipaddress
from pathlib import Path

import pytest

from postroad.ingress.connections.table import Connections, ConnectionSlot, Full
from postroad.ingress.limits import IngressLimits
from postroad.mail.ip_address import Address
from postroad.policy.model import Client, ObjectKey
from postroad.policy.snapshot import Snapshot


def table(**limits: object) -> Connections:
    defaults = {"connections": 100, "connections_per_address": 100, "kept_for_clients": 0}
    return Connections(dataclasses.replace(IngressLimits(), **(defaults | limits)))  # type: ignore[arg-type]


def ip(text: str) -> Address:
    return ipaddress.ip_address(text)


def stranger(_: Address) -> bool:
    return False


def take(connections: Connections, address: str) -> ConnectionSlot:
    place = connections.take(ip(address), stranger)
    assert isinstance(place, ConnectionSlot)
    return place


def test_one_address_has_its_share_and_a_place_given_back_is_free() -> None:
    connections = table(connections_per_address=2)
    first, _ = take(connections, "192.0.2.1"), take(connections, "192.0.2.1")
    assert connections.take(ip("192.0.2.1"), stranger) is Full.ADDRESS
    take(connections, "192.0.2.2")
    connections.give_back(first)
    connections.give_back(first)  # twice does no harm
    assert len(connections) == 2
    take(connections, "192.0.2.1")
    assert connections.take(ip("192.0.2.1"), stranger) is Full.ADDRESS


def test_who_has_one_ipv6_address_has_one_network_of_them() -> None:
    connections = table(connections_per_network=3)
    for last in range(3):
        take(connections, f"2001:db8:0:1::{last}")
    assert connections.take(ip("2001:db8:0:1::ffff"), stranger) is Full.NETWORK
    take(connections, "2001:db8:0:2::1")
    for last in range(10):  # each IPv4 address is by itself
        take(connections, f"192.0.2.{last}")


def test_what_is_one_ipv4_network_can_be_said() -> None:
    connections = table(connections_per_network=2, ipv4_prefix=24)
    take(connections, "192.0.2.1")
    take(connections, "192.0.2.2")
    assert connections.take(ip("192.0.2.3"), stranger) is Full.NETWORK
    take(connections, "192.0.3.1")


def test_the_last_places_are_for_those_who_are_known() -> None:
    connections = table(connections=10, kept_for_clients=20)
    for last in range(8):
        take(connections, f"192.0.2.{last}")
    assert connections.take(ip("192.0.2.9"), stranger) is Full.KEPT
    for last in range(2):
        assert isinstance(
            connections.take(ip(f"198.51.100.{last}"), lambda _: True), ConnectionSlot
        )
    assert connections.take(ip("198.51.100.9"), lambda _: True) is Full.CONNECTIONS


def test_a_connection_whose_client_is_not_named_yet_has_a_place_too() -> None:
    connections = table(connections=2, connections_per_address=1)
    first, second = connections.take_unnamed(), connections.take_unnamed()
    assert isinstance(first, ConnectionSlot)
    assert isinstance(second, ConnectionSlot)
    assert connections.take_unnamed() is Full.CONNECTIONS
    assert connections.name(first, ip("192.0.2.1"), stranger) is None
    assert connections.name(second, ip("192.0.2.1"), stranger) is Full.ADDRESS
    assert len(connections) == 1  # the one that may not stay has no place
    connections.give_back(first)
    assert len(connections) == 0


def test_places_are_scarce_before_they_are_gone() -> None:
    connections = table(connections=10)
    places = [take(connections, f"192.0.2.{last}") for last in range(7)]
    assert connections.scarce
    connections.give_back(places[0])
    assert not connections.scarce


@pytest.mark.parametrize(
    ("address", "known"),
    [("192.0.2.77", True), ("192.0.3.1", False), ("2001:db8:1::9", True), ("2001:db8:2::", False)],
)
def test_who_is_in_a_clients_networks_is_known(address: str, known: bool, tmp_path: Path) -> None:
    networks = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "10.0.0.1/32", "2001:db8:1::/48")))
    client = Client(key=ObjectKey("default", "n"), networks=networks)
    assert (ip(address) in Snapshot.of(1, clients=(client,)).clients_by_network) is known
