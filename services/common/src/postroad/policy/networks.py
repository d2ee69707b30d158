"""
A table of networks and their owners, with one look-up for each prefix length in use.

Every connection needs it. A search through all networks of all Clients would let anybody who
connects keep the process busy.
"""

import ipaddress
from collections.abc import Iterable
from typing import Generic, TypeVar

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Owner = TypeVar("_Owner")


class NetworkTable(Generic[_Owner]):
    """The networks of all owners."""

    def __init__(self, owned: Iterable[tuple[Iterable[_Network], _Owner]]) -> None:
        found: dict[tuple[int, int], dict[int, list[_Owner]]] = {}
        for networks, owner in owned:
            for network in networks:
                bits = network.max_prefixlen - network.prefixlen
                by_number = found.setdefault((bits, network.version), {})
                owners = by_number.setdefault(int(network.network_address) >> bits, [])
                owners.append(owner)
        self._by_bits = dict(sorted(found.items()))  # the narrowest first

    def __contains__(self, address: _Address) -> bool:
        return bool(self.of(address))

    def of(self, address: _Address) -> list[_Owner]:
        """Return the owners of an address's networks, narrowest first; may have duplicates."""
        number = int(address)
        return [
            owner
            for (bits, version), by_number in self._by_bits.items()
            if version == address.version
            for owner in by_number.get(number >> bits, ())
        ]
