"""
How often a password may be guessed: failed logins by network, and by network and name. No I/O.

A name alone is never shut out, for then anybody could shut out its owner: the owner's network is
another one, and counts for itself. A network that has used up its guesses is shut for all names but
those that have logged in from there, so that one who guesses, or one device with an old password,
does not shut out an office. Which names those are, the cluster knows (`auth.neighbours`); here are
the ones this process has seen. IPv6 counts by /64, of which anybody has a whole.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from postroad.ingress.counts.windows import SharedCount, WindowCounts

_MOST = 10_000  # networks, and pairs of network and name, remembered
FIRST_DELAY = timedelta(milliseconds=250)
LONGEST_DELAY = timedelta(seconds=8)


@dataclass(frozen=True, slots=True)
class Guess:
    """Where a login comes from, and the same with the name it gives, hashed: names are theirs."""

    network: str
    pair: str

    @classmethod
    def of(cls, network: str, username: str) -> "Guess":
        """Return what a login counts under."""
        octets = f"{network} {username}".encode("utf-8", "surrogatepass")
        return cls(network, hashlib.sha256(octets).hexdigest()[:32])


class Brake:
    """What this process knows of failed logins. Times must not run backwards by a window."""

    def __init__(self, *, per_network: int, per_name: int) -> None:
        self._per_network = per_network
        self._per_name = per_name
        self._counts = WindowCounts(_MOST)
        self._at_home: OrderedDict[str, None] = OrderedDict()  # pairs that have logged in

    def shuts_out(self, guess: Guess, now: datetime) -> bool:
        """Whether a login is refused without a look at its password."""
        if self._counts.of(guess.pair, now) >= self._per_name:
            return True
        if self._counts.of(guess.network, now) < self._per_network:
            return False
        return not self.is_at_home(guess)

    def depends_on_home(self, guess: Guess, now: datetime) -> bool:
        """Whether a login that is shut out would not be, had its name logged in from there."""
        return not self.is_at_home(guess) and self._counts.of(guess.pair, now) < self._per_name

    def is_at_home(self, guess: Guess) -> bool:
        """Whether the name has logged in from the network, as far as this process knows."""
        return guess.pair in self._at_home

    def failed(self, guess: Guess, now: datetime) -> timedelta:
        """Count a failed login; return how long its reply is held back."""
        self._counts.add(guess.pair, now)
        failures = self._counts.add(guess.network, now)
        doubled: int = 2 ** min(failures - 1, 10)
        return min(FIRST_DELAY * doubled, LONGEST_DELAY)

    def remember(self, guess: Guess) -> None:
        """Remember that a name has logged in from a network."""
        self._at_home[guess.pair] = None
        self._at_home.move_to_end(guess.pair)
        if len(self._at_home) > _MOST:
            self._at_home.popitem(last=False)

    @property
    def pause(self) -> timedelta:
        """How long the reply to one who is shut out is held back: refusing at once invites more."""
        return FIRST_DELAY * 8

    def shared(self, guess: Guess, now: datetime) -> tuple[tuple[str, SharedCount], ...]:
        """Return the cluster's counts of a failed login, each with the name it has here."""
        return (
            (guess.pair, SharedCount.of("logins.name", guess.pair, self._per_name, now)),
            (
                guess.network,
                SharedCount.of("logins.network", guess.network, self._per_network, now),
            ),
        )

    def used_up(self, name: str, now: datetime) -> None:
        """Tell that the cluster has no more guesses for a count in this window."""
        self._counts.set(name, max(self._per_network, self._per_name), now)
