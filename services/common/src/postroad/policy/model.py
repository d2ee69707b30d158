"""
Domain, Relay, Quota and Client as the data plane knows them: frozen values, compiled and resolved.

A manifest says what a user wrote; a value here says what holds: references followed, consents
checked, secrets opened, durations as timedelta, sizes in bytes. Nothing in this module parses
YAML, and nothing in the data plane imports the module that does.
"""

import ipaddress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from postroad.mail.traffic import TrafficClass
from postroad.policy.patterns import address_keys

STORED = "stored"  # in the metadata of a field: the name by which it is published for good

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ObjectKey(NamedTuple):
    """What names an object of one kind: its namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class TlsMode(StrEnum):
    """What TLS a next hop must offer; manifests that say DANE are refused until it is built."""

    NONE = "None"
    OPPORTUNISTIC = "Opportunistic"
    REQUIRED = "Required"
    VERIFIED = "Verified"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A username and password for a smarthost; the password is never logged."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Smarthost:
    """One next hop that was named by a person; lower priority first, weight among equals."""

    host: str
    port: int = 25
    priority: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """When to try again, when to warn the sender, when to give up."""

    first: timedelta = timedelta(minutes=15)
    factor: float = 1.5
    longest: timedelta = timedelta(hours=4)
    lifetime: timedelta = timedelta(days=5)
    delay_warning: timedelta | None = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` per `window`."""

    count: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """What one site is asked to bear, exact for the whole cluster."""

    connections: int = 20
    messages_per_connection: int = 100
    message_rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An address to send from, with the name to say in EHLO; `weight` among the others."""

    name: str
    address: str | None = None
    ehlo: str | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True)
class EgressPath:
    """
    How mail leaves: to smarthosts, or by MX when there are none.

    `name` identifies it for limits, logs and sites: `relay:<namespace>/<name>` for a Relay,
    `domain:<namespace>/<name>` for the route of a Domain that receives.
    """

    name: str
    smarthosts: tuple[Smarthost, ...] = ()
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    implicit_tls: bool = False
    credentials: Credentials | None = None
    unverified_login: bool = False  # log in whatever the host's certificate says
    pool: str = "default"
    sources: tuple[Source, ...] = ()
    retry: RetrySchedule = RetrySchedule()
    limits: SiteLimits = SiteLimits()

    @property
    def by_mx(self) -> bool:
        """Whether hosts are found in the DNS."""
        return not self.smarthosts


@dataclass(frozen=True, slots=True)
class Relay:
    """An egress path that may be chosen for `destinations` (domain patterns) in its namespace."""

    key: ObjectKey
    destinations: tuple[str, ...]
    egress_path: EgressPath = field(metadata={STORED: "way_out"})


@dataclass(frozen=True, slots=True)
class Receive:
    """
    What a Domain accepts. `recipients` None admits any local part, else full-address patterns.

    `egress_path` leads to the real server behind this relay.
    """

    egress_path: EgressPath = field(metadata={STORED: "way_out"})
    recipients: tuple[str, ...] | None = None
    known: frozenset[str] = field(init=False, repr=False, compare=False)
    """The recipients as `any_matches` looks them up: strangers ask, and there may be thousands."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", address_keys(self.recipients or ()))


@dataclass(frozen=True, slots=True)
class Domain:
    """
    A mail domain this cluster handles.

    `admits` lists further namespaces whose Clients may send as it, None for every namespace.
    """

    key: ObjectKey
    domain: str
    receive: Receive | None = None
    sends: bool = False
    relay: ObjectKey | None = None
    admits: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """SCRAM-SHA-256 verifier of a password (RFC 5803): the password itself is nowhere."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """Who may submit: proven by password or by network; `senders` are full-address patterns."""

    key: ObjectKey
    username: str | None = None
    verifier: ScramVerifier | None = None
    networks: tuple[Network, ...] = ()
    senders: tuple[str, ...] = ()
    relay: ObjectKey | None = None
    traffic_class: TrafficClass = TrafficClass.EXPRESS
    allowed: frozenset[str] = field(init=False, repr=False, compare=False)
    """The senders as `any_matches` looks them up."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed", address_keys(self.senders))


class QuotaUnit(StrEnum):
    """What a limit counts."""

    MESSAGES = "messages"
    RECIPIENTS = "recipients"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class QuotaLimit:
    """At most `maximum` units in each window; windows are aligned to the Unix epoch."""

    unit: QuotaUnit
    maximum: int
    window: timedelta


class OnExceeded(StrEnum):
    """What happens to mail over a quota."""

    DEFER = "Defer"
    REJECT = "Reject"
    HOLD = "Hold"


class SubjectKind(StrEnum):
    """Whom a quota counts."""

    NAMESPACE = "namespace"
    CLIENT = "client"
    SENDER_DOMAIN = "senderDomain"
    SENDER = "sender"
    CLIENT_NETWORK = "clientNetwork"


@dataclass(frozen=True, slots=True)
class QuotaSubject:
    """
    Whom a quota counts; one count for each value that `match` (a pattern) admits.

    For CLIENT_NETWORK, `prefix_length` masks a client's IPv4 address, `prefix_length_v6` its IPv6.
    """

    kind: SubjectKind
    match: str = "*"
    prefix_length: int = 32
    prefix_length_v6: int = 64


@dataclass(frozen=True, slots=True)
class Quota:
    """How much a subject may send."""

    key: ObjectKey
    subject: QuotaSubject
    limits: tuple[QuotaLimit, ...]
    on_exceeded: OnExceeded = OnExceeded.DEFER


Entry = Domain | Relay | Client | Quota  # an object as it is published
