"""
Limits how often passwords are guessed: failed logins by network, and by network and name. No I/O.

A username is never shut out everywhere, because then anybody could shut out its owner. The owner
uses another network, which has its own counts. A network with too many failed logins is shut out,
except for the usernames that have logged in from it before. So a guesser in an office, or a device
with an old password, does not shut out the whole office. This module knows the names that this
process has seen; `auth.neighbours` asks the cluster for others. An IPv6 network is a /64, because
one host usually has a whole /64.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from postroad.acceptance.counts.windows import SharedCount, WindowCounts

_MOST = 10_000  # networks, and pairs of network and name, remembered
FIRST_DELAY = timedelta(milliseconds=250)
LONGEST_DELAY = timedelta(seconds=8)


@dataclass(frozen=True, slots=True)
class Guess:
    """
    What a login counts under: its network, and its network with the username.

    The pair is hashed, because usernames are private.
    """

    network: str
    pair: str

    @classmethod
    def of(cls, network: str, username: str) -> "Guess":
        """Return what a login counts under."""
        octets = f"{network} {username}".encode("utf-8", "surrogatepass")
        return cls(network, hashlib.sha256(octets).hexdigest()[:32])


class Brake:
    """The failed logins that this process knows. `now` must not go back by a whole window."""

    def __init__(self, *, per_network: int, per_name: int) -> None:
        self._per_network = per_network
        self._per_name = per_name
        self._counts = WindowCounts(_MOST)
        self._at_home: OrderedDict[str, None] = OrderedDict()  # pairs that have logged in

    def shuts_out(self, guess: Guess, now: datetime) -> bool:
        """Whether a login is refused without checking its password."""
        if self._counts.of(guess.pair, now) >= self._per_name:
            return True
        if self._counts.of(guess.network, now) < self._per_network:
            return False
        return not self.is_at_home(guess)

    def depends_on_home(self, guess: Guess, now: datetime) -> bool:
        """Whether a refused login would be let in if its name had logged in from its network."""
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
        """How long the reply to a refused login is held back: a fast reply invites more guesses."""
        return FIRST_DELAY * 8

    def shared(self, guess: Guess, now: datetime) -> tuple[tuple[str, SharedCount], ...]:
        """Return the cluster's counts of a failed login, each with its name in this process."""
        return (
            (guess.pair, SharedCount.of("logins.name", guess.pair, self._per_name, now)),
            (
                guess.network,
                SharedCount.of("logins.network", guess.network, self._per_network, now),
            ),
        )

    def used_up(self, name: str, now: datetime) -> None:
        """Note that the cluster allows no more guesses under this name in this window."""
        self._counts.set(name, max(self._per_network, self._per_name), now)
