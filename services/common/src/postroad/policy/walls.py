"""
Networks to which no mail is sent, whoever names the host: the administrator's walls. No I/O.

A Relay or Domain names hosts, and a connection to them begins in the relay's network: who may write
a Relay could reach what only the relay's pods can reach, such as the metadata service of a cloud.

A kernel takes a connection to an address of "this host" (RFC 1122 §3.2.1.3), such as 0.0.0.0, for
one to itself. So that address is denied wherever loopback is.
"""

import ipaddress
from dataclasses import dataclass

from postroad.mail.ip_address import Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1; 64:ff9b:1::/48 is local (RFC 8215)
# Addresses of "this host", and the address to which a connection to them goes.
_THIS_HOST = (
    (ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_address("127.0.0.1")),
    (ipaddress.ip_network("::/128"), ipaddress.ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class DeniedNetworks:
    """The networks that are denied; `allowed` has exceptions within them."""

    denied: tuple[Network, ...] = ()
    allowed: tuple[Network, ...] = ()

    def admits(self, text: str) -> bool:
        """Whether a connection may go to an address; every notation of it counts."""
        if not self.denied:
            return True
        address = ipaddress.ip_address(text)
        every = [address]
        if isinstance(address, ipaddress.IPv6Address) and (inside := v4_inside(address)):
            every.append(inside)
        every += [loopback for one in every for network, loopback in _THIS_HOST if one in network]
        return all(self._admits(each) for each in every)

    def _admits(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        if not any(address in network for network in self.denied):
            return True
        return any(address in network for network in self.allowed)


EVERYWHERE = DeniedNetworks()


def v4_inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address within an IPv6 one (mapped, NAT64, 6to4), to which it may lead."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
