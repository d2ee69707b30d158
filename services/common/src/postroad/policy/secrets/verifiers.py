"""
The verifiers of Clients' passwords, made once for each password. No I/O.

A verifier costs 23 ms of hashing, so 5,000 Clients would take two minutes. The salt is derived from
the password, so an equal salt means an equal password, and the published verifier is reused.

Where several people's objects are compiled together, one compilation makes only a few of them.
Otherwise whoever changes thousands of passwords would delay the edits of all others.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from postroad.policy.model import Client, Credentials, Entry, ObjectKey, ScramVerifier
from postroad.policy.secrets.scram import ITERATIONS, make_verifier, salt_of
from postroad.policy.secrets.seal import Keyring


class Unhashed(NamedTuple):
    """A password of a Client without a verifier yet."""

    client: ObjectKey
    password: str
    salt: bytes


class Verifiers:
    """
    Makes verifiers and caches them, if it is kept from one compilation to the next.

    One compilation, which `begin` begins, makes at most `at_once` of them. The passwords beyond are
    `postponed`, until somebody calls `make`.
    """

    def __init__(
        self,
        keyring: Keyring,
        *,
        published: Iterable[Entry] = (),
        iterations: int = ITERATIONS,
        at_once: float = math.inf,
    ) -> None:
        self.postponed: list[Unhashed] = []
        self._keyring = keyring
        self._iterations = iterations
        self._at_once = at_once
        self._left = at_once
        self._known = {
            entry.key: entry.verifier
            for entry in published
            if isinstance(entry, Client) and entry.verifier is not None
        }

    def begin(self) -> None:
        """Begin a compilation."""
        self._left = self._at_once
        self.postponed = []

    def of(self, client: ObjectKey, login: Credentials) -> ScramVerifier | None:
        """Return the verifier of a Client's password, None if it is postponed."""
        salt = salt_of(self._keyring, client, login.username, login.password)
        known = self._known.get(client)
        if known is not None and known.salt == salt and known.iterations == self._iterations:
            return known
        password = Unhashed(client, login.password, salt)
        if self._left <= 0:
            self.postponed.append(password)
            return None
        self._left -= 1
        return self.make(password)

    def make(self, password: Unhashed) -> ScramVerifier:
        """Make the verifier of a password now."""
        made = make_verifier(password.password, salt=password.salt, iterations=self._iterations)
        self._known[password.client] = made
        return made

    def keep(self, clients: Iterable[ObjectKey]) -> None:
        """Forget all but these Clients."""
        kept = frozenset(clients)
        known = list(self._known.items())  # another thread may make one meanwhile
        self._known = {key: each for key, each in known if key in kept}
