"""
The memory that all connections hold together, and which of them have to go. No I/O, no clock.

A connection holds input that is not read yet, recipients, content that is not stored yet, and
replies that the client has not read. A thousand connections, each with little, may hold more than
the process may use, and then the kernel kills the process. So all of it is counted. A rise is
counted at once; a fall is counted once a second, and before connections are ended. There are three
limits:

- Above the first, slots are scarce, and a stranger that holds more than its share gets no more.
- Above the second, the strangers that hold most are ended, except those below their share.
- Above the third, which strangers alone never reach, the same holds for Clients.

A connection whose message is being stored is not ended. The message counts until it is stored, even
if the client has gone.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from postroad.units.quantities import ByteSize

# Shares of the memory that the process may use. The rest is for the program, TLS and fragmentation.
_SCARCE, _FULL_FOR_STRANGERS, _FULL = 0.25, 0.375, 0.5


class Keeper(Protocol):
    """The part of `Holder` that matters for memory."""

    @property
    def known(self) -> bool:
        """Whether the client is a Client's."""

    @property
    def storing(self) -> bool:
        """Whether a message is being stored; then the connection must not be ended."""


class Holding(Protocol):
    """A connection's slot, and how many octets were counted for it last."""

    held: int

    @property
    def holder(self) -> Keeper | None:
        """The connection that has the slot."""


_Slot = TypeVar("_Slot", bound=Holding)


class Memory:
    """The memory that all connections of a process hold."""

    def __init__(self, usable: ByteSize) -> None:
        self._scarce = int(usable * _SCARCE)
        self._full_for_strangers = int(usable * _FULL_FOR_STRANGERS)
        self._full = int(usable * _FULL)
        self.held = 0

    @property
    def scarce(self) -> bool:
        """Whether the first limit is reached: strangers above their share get no more."""
        return self.held >= self._scarce

    @property
    def full(self) -> bool:
        """Whether the second limit is reached: connections have to be ended."""
        return self.held >= self._full_for_strangers

    def count(self, slot: Holding, octets: int) -> None:
        """Record how much a connection holds now."""
        self.held += octets - slot.held
        slot.held = octets

    def has_room(self, slot: Holding, connections: int, *, known: bool) -> bool:
        """Whether a connection may hold more; `connections` are how many share the memory."""
        if not self.scarce or (known and self.held < self._full):
            return True
        return slot.held < self._share(connections)

    def _share(self, connections: int) -> int:
        return self._scarce // max(connections, 1)

    def to_turn_out(self, slots: Sequence[_Slot]) -> list[_Slot]:
        """Return whom to end: those that hold most, strangers first, then Clients if necessary."""
        found: tuple[list[_Slot], list[_Slot]] = ([], [])
        share = self._share(len(slots))
        for slot in slots:
            if slot.held > share and slot.holder is not None and not slot.holder.storing:
                found[slot.holder.known].append(slot)
        left, chosen = self.held, []
        for of_kind, mark in zip(found, (self._full_for_strangers, self._full), strict=True):
            for slot in sorted(of_kind, key=lambda each: each.held, reverse=True):
                if left < mark:
                    break
                chosen.append(slot)
                left -= slot.held
        return chosen
