"""
The verifiers of Clients' passwords, made once for each password. No I/O.

A verifier costs 23 ms of hashing, so 5,000 Clients would take two minutes. The salt is derived from
the password, so an equal salt means an equal password, and the published verifier is reused.
"""

from collections.abc import Iterable

from postroad.policy.model import Client, Credentials, Entry, ObjectKey, ScramVerifier
from postroad.policy.secrets.scram import ITERATIONS, make_verifier, salt_of
from postroad.policy.secrets.seal import Keyring


class Verifiers:
    """Makes verifiers and caches them, if it is kept from one compilation to the next."""

    def __init__(
        self, keyring: Keyring, *, published: Iterable[Entry] = (), iterations: int = ITERATIONS
    ) -> None:
        self._keyring = keyring
        self._iterations = iterations
        self._known = {
            entry.key: entry.verifier
            for entry in published
            if isinstance(entry, Client) and entry.verifier is not None
        }

    def of(self, client: ObjectKey, login: Credentials) -> ScramVerifier:
        """Return the verifier of a Client's password."""
        salt = salt_of(self._keyring, client, login.username, login.password)
        known = self._known.get(client)
        if known is None or known.salt != salt or known.iterations != self._iterations:
            known = make_verifier(login.password, salt=salt, iterations=self._iterations)
            self._known[client] = known
        return known
