"""
IPv4 addresses that are written as IPv6 ones, read as what they are.

A socket, a load balancer, a manifest or the DNS may say `::ffff:192.0.2.1` for 192.0.2.1 (RFC 4291
§2.5.5.2). What is counted or compared by address must know one host by one address: each such
address is changed where it enters. NAT64 (64:ff9b::/96) is another host's view of an IPv4 host, and
stays IPv6.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_BITS = 96  # in front of the IPv4 address


def unmapped(address: Address) -> Address:
    """Return an IPv4-mapped IPv6 address as the IPv4 address it is, any other as it is."""
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def unmapped_network(network: Network) -> Network:
    """Return a network of IPv4-mapped IPv6 addresses as the IPv4 network, any other as it is."""
    first = unmapped(network.network_address)
    if first.version == network.version or network.prefixlen < _BITS:
        return network
    return ipaddress.IPv4Network((int(first), network.prefixlen - _BITS))
