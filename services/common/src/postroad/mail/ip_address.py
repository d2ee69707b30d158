"""
Turns IPv4-mapped IPv6 addresses into IPv4 addresses.

A socket, a load balancer, a manifest or the DNS may write 192.0.2.1 as `::ffff:192.0.2.1` (RFC 4291
§2.5.5.2). Limits and rules count and compare addresses, so one host must have one address: each
mapped address is changed where it enters. A NAT64 address (64:ff9b::/96) belongs to a translated
connection and stays IPv6.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_BITS = 96  # in front of the IPv4 address


def unmapped(address: Address) -> Address:
    """Return the IPv4 address of an IPv4-mapped IPv6 address; any other address as it is."""
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def unmapped_network(network: Network) -> Network:
    """Return the IPv4 network of IPv4-mapped IPv6 addresses; any other network as it is."""
    first = unmapped(network.network_address)
    if first.version == network.version or network.prefixlen < _BITS:
        return network
    return ipaddress.IPv4Network((int(first), network.prefixlen - _BITS))
