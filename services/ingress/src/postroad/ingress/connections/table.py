"""
The table of connections: who gets a slot, and how many slots are left. No I/O, no clock.

A connection is counted from accept on: it needs a descriptor during a TLS handshake as well as in a
session. There is a limit for all connections, one for each address and one for each network,
because a host with one IPv6 address usually has a whole /64. The last slots are reserved for
addresses in the networks of Clients, so that a flood from elsewhere cannot shut these out.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from postroad.ingress.connections.memory import Memory
from postroad.ingress.limits import IngressLimits
from postroad.mail.ip_address import Address, unmapped
from postroad.smtp.reply import Reply

_SCARCE = 0.7  # when this share of the slots is in use, each client gets less time


class Full(StrEnum):
    """Why there is no slot for a connection."""

    CONNECTIONS = "connections"
    KEPT = "kept"
    ADDRESS = "address"
    NETWORK = "network"


class Holder(Protocol):
    """The object that owns a connection with a slot: a session, or an opening before it."""

    waiting_since: float
    """Loop time since which it waits for the client; infinite while the client waits for it."""
    patience: float
    """The longest that it waits for the client, in seconds."""
    in_content: bool
    """Whether a message is being received."""
    storing: bool
    """Whether a message was received and is being stored."""

    @property
    def known(self) -> bool:
        """Whether the client is a Client's."""

    def settle(self) -> None:
        """Count how much memory the connection holds now."""

    def end(self, reply: Reply) -> None:
        """Send this reply, if one may be sent now, and close."""

    def turn_out(self, reply: Reply) -> None:
        """Send this reply and close, whether the client reads it or not."""

    def abort(self) -> None:
        """Close at once."""


class ConnectionSlot:
    """
    The slot of one connection, and the octets that were counted for it last.

    `address` is None until a load balancer names the client.
    """

    __slots__ = ("address", "held", "holder")

    def __init__(self) -> None:
        self.address: Address | None = None
        self.holder: Holder | None = None
        self.held = 0


class Connections:
    """All slots of a process."""

    def __init__(self, limits: IngressLimits) -> None:
        self._limits = limits
        self._kept = limits.connections * limits.kept_for_clients // 100
        self._scarce = limits.connections * _SCARCE
        self.memory = Memory(limits.memory)
        self._slots: set[ConnectionSlot] = set()
        # Integers are faster keys than addresses; bit 128 tells IPv6 from IPv4.
        self._by_address: Counter[int] = Counter()
        self._by_network: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[ConnectionSlot]:
        return iter(tuple(self._slots))

    @property
    def scarce(self) -> bool:
        """Whether so many slots or so much memory are in use that clients get less time."""
        return len(self._slots) >= self._scarce or self.memory.scarce

    def take(self, address: Address, known: Callable[[Address], bool]) -> ConnectionSlot | Full:
        """Give a connection a slot; `known` tells whether a Client covers the address."""
        slot = self.take_unnamed()
        if isinstance(slot, Full):
            return slot
        full = self.name(slot, address, known)
        return slot if full is None else full

    def take_unnamed(self) -> ConnectionSlot | Full:
        """Give a slot to a load balancer's connection, whose client is not known yet."""
        if len(self._slots) >= self._limits.connections:
            return Full.CONNECTIONS
        slot = ConnectionSlot()
        self._slots.add(slot)
        return slot

    def name(
        self, slot: ConnectionSlot, address: Address, known: Callable[[Address], bool]
    ) -> Full | None:
        """Count a slot for its client; if a limit is reached, free the slot and return why."""
        full = self._full(address, known)
        if full is not None:
            self.give_back(slot)
            return full
        slot.address = address
        number = _number(address)
        self._by_address[number] += 1
        if bits := self._bits(address):
            self._by_network[number >> bits] += 1
        return None

    def _full(self, address: Address, known: Callable[[Address], bool]) -> Full | None:
        limits = self._limits
        number = _number(address)
        if self._by_address[number] >= limits.connections_per_address:
            return Full.ADDRESS
        bits = self._bits(address)
        if bits and self._by_network[number >> bits] >= limits.connections_per_network:
            return Full.NETWORK
        if len(self._slots) > limits.connections - self._kept and not known(address):
            return Full.KEPT
        return None

    def give_back(self, slot: ConnectionSlot) -> None:
        """Free a slot; freeing it again does nothing."""
        if slot not in self._slots:
            return
        self._slots.discard(slot)
        if slot.holder is None or not slot.holder.storing:
            self.memory.count(slot, 0)
        slot.holder = None
        if slot.address is not None:
            number = _number(slot.address)
            _less(self._by_address, number)
            if bits := self._bits(slot.address):
                _less(self._by_network, number >> bits)

    def count(self, slot: ConnectionSlot, octets: int) -> None:
        """Record how much memory a connection holds; once its slot is free, only a fall counts."""
        if slot in self._slots or octets < slot.held:
            self.memory.count(slot, octets)

    def _bits(self, address: Address) -> int:
        """Return how many bits follow the prefix of an address's network; 0: it has no network."""
        if address.version == 4:
            return 32 - self._limits.ipv4_prefix
        return 128 - self._limits.ipv6_prefix


def _number(address: Address) -> int:
    return int(address) if address.version == 4 else int(address) | 1 << 128


def _less(counter: Counter[int], key: int) -> None:
    left = counter[key] - 1
    if left > 0:
        counter[key] = left
    else:
        del counter[key]


def address_of(peer: object) -> Address:
    """Return the IP address of a socket's peer."""
    return _address(str(peer[0]) if isinstance(peer, tuple) else "")


@lru_cache(maxsize=1024)  # most connections come from a few addresses
def _address(host: str) -> Address:
    try:
        return unmapped(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return ipaddress.IPv4Address(0)
