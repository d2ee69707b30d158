"""Log lines that strangers can cause: some are written, the rest counted, memory is bounded."""

import ipaddress

import pytest

from postroad.telemetry.log_limit import Budget, LineLimit, network_of


def test_a_flood_of_one_network_is_cut_and_counted() -> None:
    limit = LineLimit(Budget(3, 0.5), Budget(100, 10))
    told = [limit.admit("rejected", "192.0.2.1", 0.0) for _ in range(10)]
    assert told == [0, 0, 0, *[None] * 7]
    assert limit.admit("rejected", "192.0.2.1", 2.0) == 7  # half a line a second came back
    assert limit.admit("rejected", "192.0.2.1", 2.0) is None


def test_other_networks_and_other_kinds_are_still_written() -> None:
    limit = LineLimit(Budget(1, 0), Budget(100, 10))
    assert limit.admit("rejected", "192.0.2.1", 0.0) == 0
    assert limit.admit("rejected", "192.0.2.1", 0.0) is None
    assert limit.admit("rejected", "192.0.2.2", 0.0) == 0
    assert limit.admit("TLS", "192.0.2.1", 0.0) == 0


def test_a_thousand_networks_get_what_all_may_have() -> None:
    limit = LineLimit(Budget(3, 0.5), Budget(50, 10))
    written = [limit.admit("rejected", f"network {n}", 0.0) for n in range(1000)]
    assert sum(left_out is not None for left_out in written) == 50
    assert limit.take_report() == {"rejected": 950}
    assert limit.take_report() == {}
    assert limit.admit("rejected", "another", 1.0) == 0


def test_networks_unheard_of_for_long_are_forgotten() -> None:
    limit = LineLimit(Budget(1, 0), Budget(100_000, 0))
    assert limit.admit("rejected", "first", 0.0) == 0
    assert limit.admit("rejected", "first", 0.0) is None
    for number in range(10_000):
        limit.admit("rejected", f"network {number}", 0.0)
    assert limit.admit("rejected", "first", 0.0) == 0


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ],
)
def test_ipv6_counts_by_what_one_customer_has(address: str, network: str) -> None:
    assert network_of(ipaddress.ip_address(address)) == network
