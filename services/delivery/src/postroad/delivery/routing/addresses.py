"""
Selects and orders the addresses of hosts. No I/O.

IPv6 and IPv4 addresses alternate (RFC 8305 §4), so that an unreachable family does not use up the
tries. The addresses are tried one after the other: a concurrent second connection would exceed the
site's limit.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from postroad.dns.answers import AddressAnswer
from postroad.policy.walls import EVERYWHERE, DeniedNetworks, v4_inside

MAX_ADDRESSES = 8  # of one host, after the families are mixed


# All addresses allocated so far; the others, such as ::/8 and fec0::/10, are deprecated or
# reserved.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")  # RFC 9637, which Python 3.11 does not know


@dataclass(frozen=True, slots=True)
class AddressRules:
    """To which addresses mail may be sent: public ones, or others too; to denied ones never."""

    allow_private: bool
    walls: DeniedNetworks = EVERYWHERE

    def admit(self, address: str) -> bool:
        """Whether mail may be sent to an address."""
        return (self.allow_private or is_public(address)) and self.walls.admits(address)


def usable_addresses(answer: AddressAnswer, rules: AddressRules) -> tuple[str, ...]:
    """Return the addresses of a host to which mail may be sent, in the order to try them."""
    usable = [a for a in dict.fromkeys(answer.addresses) if rules.admit(a)]
    return tuple(alternating(usable)[:MAX_ADDRESSES])


def alternating(addresses: Sequence[str]) -> list[str]:
    """Return addresses with alternating families, beginning with that of the first."""
    if not addresses:
        return []
    first = is_v6(addresses[0])
    families = (
        [address for address in addresses if is_v6(address) is first],
        [address for address in addresses if is_v6(address) is not first],
    )
    return [each for each in chain.from_iterable(zip_longest(*families)) if each is not None]


def is_v6(address: str) -> bool:
    """Whether an address is IPv6."""
    return ":" in address


def of_family(addresses: Iterable[str], source: str) -> tuple[str, ...]:
    """Return the addresses of the same family as a source address."""
    return tuple(address for address in addresses if is_v6(address) is is_v6(source))


def is_public(text: str) -> bool:
    """
    Whether an address is public on the Internet, in any notation.

    For an IPv4 address within an IPv6 one (mapped, NAT64, 6to4), the IPv4 address counts, since a
    local NAT64 would forward a private one to our own network. Teredo addresses and the local NAT64
    prefix are never public.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv4Address):
        return _is_public_v4(address)
    inside = v4_inside(address)
    if inside is not None:
        return _is_public_v4(inside)
    return address in _GLOBAL_UNICAST and address.is_global and address not in _DOCUMENTATION


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return address.is_global and not address.is_multicast
