"""
The addresses of hosts: which of them mail may be sent to, and in what order. No I/O.

A host's families alternate (RFC 8305 §4), so that neither uses up the tries where it leads nowhere
from here. The tries themselves are one after the other: a second connection that races the first
would be one more than the site's limit.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from postroad.delivery.routing.answers import AddressAnswer

MAX_ADDRESSES = 8  # of one host, after its families were mixed

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# All that is handed out so far; the rest, ::/8 and fec0::/10 among it, is old or reserved.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1; 64:ff9b:1::/48 is local (RFC 8215)
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637, which Python 3.11 does not know


def usable_addresses(answer: AddressAnswer, *, allow_private: bool) -> tuple[str, ...]:
    """Return a host's addresses that mail may be sent to, each once, in the order to try them."""
    usable = [a for a in dict.fromkeys(answer.addresses) if allow_private or is_public(a)]
    return tuple(alternating(usable)[:MAX_ADDRESSES])


def alternating(addresses: Sequence[str]) -> list[str]:
    """Return addresses with their families in turn, beginning with that of the first."""
    if not addresses:
        return []
    first = is_v6(addresses[0])
    families = (
        [address for address in addresses if is_v6(address) is first],
        [address for address in addresses if is_v6(address) is not first],
    )
    return [each for each in chain.from_iterable(zip_longest(*families)) if each is not None]


def is_v6(address: str) -> bool:
    """Whether the text of an address is one of IPv6."""
    return ":" in address


def of_family(addresses: Iterable[str], source: str) -> tuple[str, ...]:
    """Return the addresses that can be connected to from a source address."""
    return tuple(address for address in addresses if is_v6(address) is is_v6(source))


def is_public(text: str) -> bool:
    """
    Whether an address is somebody's on the Internet, in whatever form it is written.

    An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) counts as what it is: a NAT64 here
    would take a private one to our own network. Teredo and the local NAT64 prefix never count.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_v4(address)
    inside = _v4_inside(address)
    if inside is not None:
        return _is_public_v4(inside)
    return address in _GLOBAL_UNICAST and address.is_global and address not in _DOCUMENTATION


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def _v4_inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
