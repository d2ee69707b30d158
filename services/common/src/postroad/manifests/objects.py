"""
What users declared, as values: objects with their models, Secrets, namespaces, and what is wrong.

The file reader and the operator both end here, so that compiling knows neither files nor the
Kubernetes API. A declared object keeps its place in the order of declaration and its age, because
conflicts are decided by them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from postroad.policy.model import ObjectKey

GROUP = "postroad.dev"
VERSION = "v1alpha1"


class Kind(StrEnum):
    """The kinds of the group, in the order they are compiled."""

    RELAY = "Relay"
    DOMAIN = "Domain"
    CLIENT = "Client"
    QUOTA = "Quota"


class Reference(NamedTuple):
    """What names an object among all: its kind, namespace and name."""

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
    """What is wrong at a field of an object, and what to do about it."""

    path: Path
    reason: str

    @property
    def field(self) -> str:
        """The path as people write it: spec.limits[0].per."""
        return format_path(self.path)


def format_path(path: Path) -> str:
    """Write a path as people do: spec.limits[0].per."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            # A key is what somebody typed: quoted unless it reads as a name, cut when long.
            name = step if _PLAIN.fullmatch(step) else repr(step)
            text += f".{name[:80]}" if text else name[:80]
    return text


@dataclass(frozen=True, slots=True)
class Declared:
    """
    One object of the group; `spec` is None when `problems` tells why it cannot be read.

    `spec` is the kind's manifest model, whose type is not named here: the data plane knows this
    module, and must not load those.

    `created` is what Kubernetes says, None in files; `order` is the place among all that was
    declared.
    """

    reference: Reference
    spec: object | None
    problems: tuple[Problem, ...] = ()
    generation: int = 0
    created: datetime | None = None
    order: int = 0


@dataclass(frozen=True, slots=True)
class Objects:
    """
    All that is declared, to be compiled together.

    `complete` is False while something could not be listed or read: nothing is removed then.
    """

    declared: tuple[Declared, ...] = ()
    secrets: Mapping[ObjectKey, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    complete: bool = True
