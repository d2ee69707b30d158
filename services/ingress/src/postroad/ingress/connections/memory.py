"""
How much memory all connections hold together, and who has to give some back. No I/O, no clock.

Each connection holds what its client has said and nobody has taken yet: input, recipients, content
that is not stored, and replies that are not read. One may hold little, and a thousand of them more
than the process may use, which the kernel answers by killing it. So all of it is counted: at once
where a connection holds more than was counted for it, and once a second where it holds less, or
before anybody has to go. There are three marks:

- From the first on places are scarce, and strangers who hold more than their share get no more.
- Over the second the strangers who hold most are turned out, none with less than its share.
- Over the third, which strangers alone never reach, Clients are treated alike.

A message that is being stored is not broken off, and counts until it is stored, whoever has left.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from postroad.units.quantities import ByteSize

# Of the memory the process may use; the rest is for the program, for TLS, and what is left unused
# between the pieces.
_SCARCE, _FULL_FOR_STRANGERS, _FULL = 0.25, 0.375, 0.5


class Keeper(Protocol):
    """What is at our end of a connection, as far as memory is concerned."""

    @property
    def known(self) -> bool:
        """Whether it is a Client's."""

    @property
    def storing(self) -> bool:
        """Whether a message is being stored, which may not be broken off."""


class Holding(Protocol):
    """A connection's place, and how many octets were counted for it last."""

    held: int

    @property
    def holder(self) -> Keeper | None:
        """What holds them."""


_Place = TypeVar("_Place", bound=Holding)


class Memory:
    """What all connections of a process hold."""

    def __init__(self, usable: ByteSize) -> None:
        self._scarce = int(usable * _SCARCE)
        self._full_for_strangers = int(usable * _FULL_FOR_STRANGERS)
        self._full = int(usable * _FULL)
        self.held = 0

    @property
    def scarce(self) -> bool:
        """Whether strangers with more than their share get no more."""
        return self.held >= self._scarce

    @property
    def full(self) -> bool:
        """Whether somebody has to give memory back."""
        return self.held >= self._full_for_strangers

    def count(self, place: Holding, octets: int) -> None:
        """Say how much a connection holds now."""
        self.held += octets - place.held
        place.held = octets

    def has_room(self, place: Holding, connections: int, *, known: bool) -> bool:
        """Whether a connection may hold more; `connections` are how many share the memory."""
        if not self.scarce or (known and self.held < self._full):
            return True
        return place.held < self._share(connections)

    def _share(self, connections: int) -> int:
        return self._scarce // max(connections, 1)

    def to_turn_out(self, places: Sequence[_Place]) -> list[_Place]:
        """Return who has to go: those who hold most, strangers, and then Clients if need be."""
        found: tuple[list[_Place], list[_Place]] = ([], [])
        share = self._share(len(places))
        for place in places:
            if place.held > share and place.holder is not None and not place.holder.storing:
                found[place.holder.known].append(place)
        left, chosen = self.held, []
        for of_kind, mark in zip(found, (self._full_for_strangers, self._full), strict=True):
            for place in sorted(of_kind, key=lambda each: each.held, reverse=True):
                if left < mark:
                    break
                chosen.append(place)
                left -= place.held
        return chosen
