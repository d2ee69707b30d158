"""
Decides which Client has a username, so that no namespace takes another's.

A username is one Client's in its namespace. Across namespaces several Clients may ask for one: one
of them has it, and each can log in as `namespace/username`, a name that only its own namespace can
give. So whoever asks for a username first can keep another namespace from the short form at most.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from postroad.manifests.compiler.claims import Claims
from postroad.manifests.compiler.findings import Finding, read_credentials, refused
from postroad.manifests.compiler.result import Reason
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.objects import Declared, Objects
from postroad.policy.model import Client, Domain, Entry, ObjectKey, Reach, qualified

_WHERE = ("auth", "secretRef", "name")


class Username(NamedTuple):
    """The username that a Client may have, None for none, and what is wrong with the wanted one."""

    name: str | None
    finding: Finding | None = None


class Usernames:
    """The usernames that Clients have so far in one compilation."""

    def __init__(
        self,
        claims: Claims,
        objects: Objects,
        last_good: Mapping[str, Entry],
    ) -> None:
        self._claims = claims
        self._objects = objects
        self._last_good = last_good
        self._owners: dict[str, ObjectKey] = {}

    def in_order(
        self, clients: Iterable[Declared], domains: Mapping[str, Domain]
    ) -> list[Declared]:
        """
        Return Clients in the order in which they get their usernames, given the oldest first.

        Those of trusted namespaces go first, and those whose username is an address of a Domain
        that their namespace has proven. Of equals, those go first that have their username already.
        In files the order is the only one.
        """
        if self._claims.trusted is None:
            return list(clients)
        return sorted(clients, key=lambda each: self._rank(each, domains))

    def _rank(self, declared: Declared, domains: Mapping[str, Domain]) -> tuple[bool, bool]:
        had = self._had(declared)
        wanted = self._wanted(declared)
        if wanted is None:
            wanted = had  # its manifest or Secret is wrong, so its last good form stays in force
        namespace = declared.reference.key.namespace
        first = namespace in (self._claims.trusted or ()) or _proven(wanted, namespace, domains)
        return not first, wanted is None or wanted != had

    def _had(self, declared: Declared) -> str | None:
        entry = self._last_good.get(declared.reference.entry_key)
        return entry.username if isinstance(entry, Client) else None

    def _wanted(self, declared: Declared) -> str | None:
        """Return the username in a Client's Secret; None if there is none, or no such text."""
        spec = declared.spec
        if not isinstance(spec, ClientSpec) or spec.auth is None:
            return None
        key = ObjectKey(declared.reference.key.namespace, spec.auth.secret_ref.name)
        found = read_credentials(self._objects, key, ("spec", *_WHERE))
        return None if isinstance(found, Finding) else found.username

    def allowed(self, client: ObjectKey, wanted: str) -> Username:
        """Return the username that a Client may have in place of the one that it wants."""
        own = qualified(client.namespace, wanted)
        owner = self._owners.get(own)
        if owner not in (None, client):
            message = f"username {wanted} belongs to Client {owner}; choose another"
            return Username(None, _conflict(message))
        if wanted == own:
            return Username(own)
        # Only files can mean a name of this form by itself.
        of_another = "/" in wanted and self._claims.trusted is not None
        if self._owners.get(wanted) in (None, client) and not of_another:
            return Username(wanted)
        message = f"username {wanted} belongs to another namespace; log in as {own}"
        return Username(own, _conflict(message))

    def take(self, client: Client) -> None:
        """Note that a Client in force has its usernames."""
        if client.username is not None:
            for name in (client.username, qualified(client.key.namespace, client.username)):
                self._owners.setdefault(name, client.key)


def _proven(username: str | None, namespace: str, domains: Mapping[str, Domain]) -> bool:
    """Return whether a username is an address of a Domain that its namespace has proven."""
    _, at, name = (username or "").rpartition("@")
    domain = domains.get(name.lower()) if at else None
    if domain is None or domain.reach is not Reach.EVERYBODY:
        return False
    return domain.key.namespace == namespace


def _conflict(message: str) -> Finding:
    return refused(Reason.USERNAME_CONFLICT, message, *_WHERE)
