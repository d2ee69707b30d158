"""
Bounds the content of large messages in memory, for all attempts of a process. No I/O.

A large body is read in chunks while it is sent. A host that stops reading keeps a chunk in memory
until it is given up, which takes minutes. So an attempt takes room for a chunk before it begins,
and keeps it until it ends. It never waits for room: without any, the record is put off, and no host
waits for our content. So nothing deadlocks, and the delay is ours.

Nobody can fill the room. Of what the others leave, a namespace has half at most. Of that its
senders have three quarters each, by class, and a sender's mail to one site has half of those. A
site has half at most, whoever sends there. So each time something is left for others. Who has
nothing may always have a first message under way, as long as it fits in.
"""

from collections import Counter
from dataclasses import dataclass, field

_PARTS = (1 / 2, 3 / 4, 1 / 2)  # of a namespace, a sender in it, a site of a sender
_OF_A_SITE = 1 / 2

MOST = 128 * 1024 * 1024  # octets

_Key = tuple[str, ...]


@dataclass(slots=True)
class BodyRoom:
    """The `most` octets of content in memory, and those `taken`."""

    most: int = MOST
    taken: int = 0
    _held: Counter[_Key] = field(default_factory=Counter)

    def take(self, namespace: str, sender: str, site: str, octets: int) -> "TakenRoom | None":
        """Take octets for a message of a sender to a site; None if they may not be had now."""
        path = ((namespace,), (namespace, sender), (namespace, sender, site))
        of_site = ("", "", "", site)
        fits = self.taken + octets <= self.most
        if not fits or not self._may_have(path, _PARTS, octets):
            return None
        if not self._may_have((of_site,), (_OF_A_SITE,), octets):
            return None
        taken = TakenRoom(self, (*path, of_site), octets)
        self._change(taken.keys, octets)
        return taken

    @property
    def is_scarce(self) -> bool:
        """Whether so much is taken that hosts which do not move should be given up sooner."""
        return self.taken * 4 >= self.most

    def _may_have(self, path: tuple[_Key, ...], parts: tuple[float, ...], octets: int) -> bool:
        """Whether each on a path has its part with so many octets more, or has nothing yet."""
        limit, used = float(self.most), self.taken
        for key, part in zip(path, parts, strict=True):
            own = self._held[key]
            limit = (limit - (used - own)) * part
            if own and own + octets > limit:
                return False
            used = own
        return True

    def give_back(self, taken: "TakenRoom") -> None:
        """Have room again."""
        self._change(taken.keys, -taken.octets)

    def _change(self, keys: tuple[_Key, ...], octets: int) -> None:
        self.taken += octets
        for key in keys:
            self._held[key] += octets
            if not self._held[key]:
                del self._held[key]


@dataclass(slots=True)
class TakenRoom:
    """Room that an attempt has taken."""

    room: BodyRoom
    keys: tuple[_Key, ...]
    octets: int

    def give_back(self) -> None:
        """Give it back; a second time does nothing."""
        self.room.give_back(self)
        self.octets = 0
