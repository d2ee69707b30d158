"""
Decides which Client has a username, so that no namespace takes another's.

A username is one Client's in its namespace. Across namespaces several Clients may ask for one: one
of them has it, and each can log in as `namespace/username`, a name that only its own namespace can
give. So whoever asks for a username first can keep another namespace from the short form at most.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from postroad.manifests.compiler.claims import Claims
from postroad.manifests.compiler.findings import Finding, refused
from postroad.manifests.compiler.result import Reason
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.objects import Declared
from postroad.policy.model import Client, Domain, ObjectKey, Reach, qualified

_WHERE = ("auth", "secretRef", "name")


class Username(NamedTuple):
    """The username that a Client may have, None for none, and what is wrong with the wanted one."""

    name: str | None
    finding: Finding | None = None


class Usernames:
    """The usernames that Clients have so far in one compilation."""

    def __init__(self, claims: Claims, secrets: Mapping[ObjectKey, Mapping[str, bytes]]) -> None:
        self._claims = claims
        self._secrets = secrets
        self._owners: dict[str, ObjectKey] = {}

    def in_order(
        self, clients: Iterable[Declared], domains: Mapping[str, Domain]
    ) -> list[Declared]:
        """
        Return Clients in the order in which they get their usernames, given the oldest first.

        Those of trusted namespaces go first, and those whose username is an address of a Domain
        that their namespace has proven.
        """
        return sorted(clients, key=lambda each: not self._goes_first(each, domains))

    def _goes_first(self, declared: Declared, domains: Mapping[str, Domain]) -> bool:
        namespace, spec = declared.reference.key.namespace, declared.spec
        if self._claims.trusted is None or namespace in self._claims.trusted:
            return True
        if not isinstance(spec, ClientSpec) or spec.auth is None:
            return False
        secret = self._secrets.get(ObjectKey(namespace, spec.auth.secret_ref.name), {})
        _, at, name = secret.get("username", b"").rpartition(b"@")
        domain = domains.get(name.decode("ascii", "replace").lower()) if at else None
        if domain is None or domain.reach is not Reach.EVERYBODY:
            return False
        return domain.key.namespace == namespace

    def allowed(self, client: ObjectKey, wanted: str) -> Username:
        """Return the username that a Client may have in place of the one that it wants."""
        own = qualified(client.namespace, wanted)
        owner = self._owners.get(own)
        if owner not in (None, client):
            message = f"username {wanted} belongs to Client {owner}, which is older"
            return Username(None, _conflict(f"{message}; choose another"))
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


def _conflict(message: str) -> Finding:
    return refused(Reason.USERNAME_CONFLICT, message, *_WHERE)
