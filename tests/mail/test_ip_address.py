"""IPv4 addresses and networks that are written as IPv6 ones."""

import ipaddress

import pytest

from postroad.mail.ip_address import unmapped, unmapped_network


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:201", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),  # NAT64: the host of somebody else's network
        ("::192.0.2.1", "::c000:201"),
        ("::1", "::1"),
    ],
)
def test_an_address(written: str, meant: str) -> None:
    assert str(unmapped(ipaddress.ip_address(written))) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:10.1.2.0/120", "10.1.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("64:ff9b::/96", "64:ff9b::/96"),
    ],
)
def test_a_network(written: str, meant: str) -> None:
    assert str(unmapped_network(ipaddress.ip_network(written))) == meant
