"""
Decides which Client has a username, so that no namespace takes another's.

A username is one Client's in its namespace. Across namespaces several Clients may ask for one: one
of them has it, and each can log in as `namespace/username`, a name that only its own namespace can
give. So whoever asks for a username first can keep another namespace from the short form at most.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from postroad.mail.address import normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.manifests.compiler.claims import Claims
from postroad.manifests.compiler.findings import Finding, refused
from postroad.manifests.compiler.result import Reason
from postroad.policy.model import Client, Domain, ObjectKey, Reach, qualified

_WHERE = ("auth", "secretRef", "name")


class Username(NamedTuple):
    """The username that a Client may have, None for none, and what is wrong with the wanted one."""

    name: str | None
    finding: Finding | None = None


class Claimant(NamedTuple):
    """A Client that may be in force, the username that it asks for, and the published one."""

    client: ObjectKey
    username: str
    had: str | None

    @property
    def full(self) -> str:
        """The form of the username that only this namespace can give."""
        return qualified(self.client.namespace, self.username)

    @property
    def had_in_full(self) -> bool:
        """Whether the Client had this username, in either form."""
        return self.had is not None and qualified(self.client.namespace, self.had) == self.full


class Usernames:
    """The usernames that Clients have in one compilation."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._owners: dict[str, ObjectKey] = {}

    def take(self, client: Client) -> None:
        """Note that a Client in force has its usernames, whoever else asks for them."""
        if client.username is not None:
            for name in (client.username, qualified(client.key.namespace, client.username)):
                self._owners.setdefault(name, client.key)

    def give(self, claimants: Sequence[Claimant], domains: Mapping[str, Domain]) -> None:
        """
        Give Clients, oldest first, their usernames: within each namespace, then the short forms.

        Trusted namespaces have the first right to a short form, and those that have proven the
        Domain of a username that is an address. Of equals, the Client that has the username already
        goes first. In files the order is the only one.
        """
        trusted = self._claims.trusted
        if trusted is None:
            by_name, by_right = claimants, claimants
        else:
            by_name = sorted(claimants, key=lambda each: not each.had_in_full)
            by_right = sorted(claimants, key=lambda each: _rank(each, trusted, domains))
        for each in by_name:
            self._owners.setdefault(each.full, each.client)
        for each in by_right:
            if self._owners[each.full] == each.client and not self._of_another(each.username):
                self._owners.setdefault(each.username, each.client)

    def allowed(self, client: ObjectKey, wanted: str) -> Username:
        """Return the username that a Client may have in place of the one that it wants."""
        own = qualified(client.namespace, wanted)
        owner = self._owners.get(own)
        if owner not in (None, client):
            message = f"username {wanted} belongs to Client {owner}; choose another"
            return Username(None, _conflict(message))
        if wanted == own:
            return Username(own)
        if self._owners.get(wanted) in (None, client) and not self._of_another(wanted):
            return Username(wanted)
        message = f"username {wanted} belongs to another namespace; log in as {own}"
        return Username(own, _conflict(message))

    def _of_another(self, username: str) -> bool:
        """Whether a username with a slash is another namespace's; only files can mean it so."""
        return "/" in username and self._claims.trusted is not None


def _rank(
    claimant: Claimant, trusted: frozenset[str], domains: Mapping[str, Domain]
) -> tuple[bool, bool]:
    namespace = claimant.client.namespace
    first = namespace in trusted or _proven(claimant.username, namespace, domains)
    return not first, claimant.username != claimant.had


def _proven(username: str, namespace: str, domains: Mapping[str, Domain]) -> bool:
    """Return whether a username is an address of a Domain that its namespace has proven."""
    _, at, name = username.rpartition("@")
    try:
        domain = domains.get(normalise_domain(name)) if at else None
    except AddressSyntaxError:
        return False
    if domain is None or domain.reach is not Reach.EVERYBODY:
        return False
    return domain.key.namespace == namespace


def _conflict(message: str) -> Finding:
    return refused(Reason.USERNAME_CONFLICT, message, *_WHERE)
