"""
Bounds the places that attempts under way take, for all sites of a process together. No I/O.

What waits can be put off. What is under way keeps its places until its host answers, for up to ten
minutes after a final dot. Any host may fall silent, also one that has been fast, and nothing tells
before. So the attempts under way never take all places:

- Sites that do not move together have at most a third. Those that have none under way may begin one
  beyond that, so that a new site can show that it is fast.
- Of the places that these leave, sites that move share a third as they like. Beyond that each may
  have an even part of it, or a few, until five twelfths are taken.
- The rest is for sites that move and have nothing under way.

If sites fall silent, the others have the same parts of what is left. So each time some places are
left, however many sites fall silent at once.
"""

from dataclasses import dataclass

_FEW = 2  # places of one site beyond the third that is shared
_LEAST = 5  # places: a process with fewer has no parts


@dataclass(slots=True)
class PlacesUnderWay:
    """
    The `most` places of a process, and those that attempts under way take.

    `still` is how many of these are at sites that do not move, and `moving` the number of sites
    that move and have any.
    """

    most: int
    taken: int = 0
    still: int = 0
    moving: int = 0

    @property
    def is_scarce(self) -> bool:
        """Whether sites that do not move have all places that they may have."""
        return self.still >= self._for_still

    @property
    def _for_still(self) -> int:
        return max(_LEAST, self.most // 3)

    def has_place(self, own: int, places: int, *, moves: bool, young: bool) -> bool:
        """
        Whether a site that has `own` places may begin a record that takes so many more.

        `young` says that it is too new to be judged.
        """
        if not moves:
            if own:
                return self.still < self._for_still
            return self.still < max(_LEAST, self.most * 3 // 4 if young else self.most * 5 // 12)
        if not own:
            return True
        left, used = self.most - self.still, self.taken - self.still
        shared = max(_LEAST, left // 3)
        if used < shared:
            return True
        even = max(_FEW, shared // max(1, self.moving))
        return own + places <= even and used < left * 5 // 12


@dataclass(slots=True)
class SiteUnderWay:
    """The places of one site's attempts, counted in those `of_all` sites."""

    of_all: PlacesUnderWay
    places: int = 0
    _moves: bool = True  # how they are counted

    def begins(self, places: int, *, moves: bool) -> None:
        """Note that an attempt begins at a record that takes so many places."""
        self._change(self.places + places, moves)

    def ends(self, places: int, *, moves: bool) -> None:
        """Note that an attempt at such a record ended."""
        self._change(self.places - places, moves)

    def recount(self, *, moves: bool) -> None:
        """Note whether the site moves now."""
        if moves is not self._moves:
            self._change(self.places, moves)

    def _change(self, places: int, moves: bool) -> None:
        every = self.of_all
        every.taken += places - self.places
        if self._moves:
            every.moving -= self.places > 0
        else:
            every.still -= self.places
        if moves:
            every.moving += places > 0
        else:
            every.still += places
        self.places, self._moves = places, moves
