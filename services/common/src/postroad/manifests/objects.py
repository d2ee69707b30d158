"""
The declared objects as values: their models, their problems, Secrets, and namespaces.

The file reader and the operator both produce these values, so the compiler depends neither on files
nor on the Kubernetes API. A declared object has its creation time and its place in the files,
because they decide conflicts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from postroad.policy.model import ObjectKey
from postroad.policy.patterns import specificity

GROUP = "postroad.dev"
VERSION = "v1alpha1"

# With this label the owner of a Secret lets Clients and Relays of its namespace use it as a login.
# The annotation names the hosts to which Relays may send it.
SECRET_LABEL, SECRET_USE = f"{GROUP}/secret-type", "login"
HOSTS_ANNOTATION = f"{GROUP}/hosts"


class Kind(StrEnum):
    """The kinds of the group, in the order they are compiled."""

    RELAY = "Relay"
    DOMAIN = "Domain"
    CLIENT = "Client"
    QUOTA = "Quota"
    DOMAIN_GRANT = "DomainGrant"


class Reference(NamedTuple):
    """The kind, namespace and name of an object, which identify it."""

    kind: Kind
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    @property
    def entry_key(self) -> str:
        """The key of its entry in the published configuration; namespaces have no dots."""
        return f"{self.kind.lower()}.{self.key.namespace}.{self.key.name}"


_PLAIN = re.compile(r"[\w./-]+")
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem at a field of an object, with a reason that says what to do."""

    path: Path
    reason: str

    @property
    def field(self) -> str:
        """The path in dotted form: spec.limits[0].per."""
        return format_path(self.path)


def format_path(path: Path) -> str:
    """Write a path in dotted form: spec.limits[0].per."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            # A key may be any text that a user typed: quote it unless it is plain, and cut it.
            name = step if _PLAIN.fullmatch(step) else repr(step)
            text += f".{name[:80]}" if text else name[:80]
    return text


@dataclass(frozen=True, slots=True)
class Declared:
    """
    One object of the group; `spec` is None if it has `problems`.

    `spec` is the model of the kind. Its type is `object` here, so that code which needs no models
    can import this module without pydantic.

    `created` comes from Kubernetes and is None in files; `order` is its place in the files.
    """

    reference: Reference
    spec: object | None
    problems: tuple[Problem, ...] = ()
    generation: int = 0
    created: datetime | None = None
    order: int = 0


@dataclass(frozen=True, slots=True)
class LoginSecret:
    """
    A Secret of Kubernetes, and what its owner lets it be used for; its values are never shown.

    `opted_in`: the owner lets Clients and Relays of the namespace use it. `hosts` are the patterns
    of hosts to which a Relay may send the login; None if the owner has not named any.
    """

    data: Mapping[str, bytes] = field(repr=False)
    opted_in: bool = False
    hosts: tuple[str, ...] | None = None

    def may_go_to(self, host: str) -> bool:
        """Whether a Relay may send the login to a host, as far as the owner has named any."""
        return any(specificity(pattern, host.casefold()) for pattern in self.hosts or ())


@dataclass(frozen=True, slots=True)
class Objects:
    """
    All declared objects, which are compiled together.

    `complete` is False if some objects could not be listed or read: then nothing is removed. With
    `opt_in` a Secret counts only if its owner has opted in. In files nobody has to: who writes a
    Relay there can read the Secret, too.
    """

    declared: tuple[Declared, ...] = ()
    secrets: Mapping[ObjectKey, LoginSecret] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    complete: bool = True
    opt_in: bool = False
