"""
Domain, Relay, Quota and Client in the compiled form that the data plane uses: frozen values.

A manifest has what a user wrote. In the values here, references are resolved, consent is checked,
secrets are decrypted, durations are timedelta and sizes are bytes. The data plane does not load the
models of manifests (`postroad.manifests`).
"""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from postroad.mail.ip_address import Network
from postroad.mail.traffic import TrafficClass
from postroad.policy.patterns import address_keys

STORED = "stored"  # in a field's metadata: its name in the published JSON, if that differs


class ObjectKey(NamedTuple):
    """The namespace and name of an object, which identify it within its kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class TlsMode(StrEnum):
    """Which TLS a next hop must offer. Manifests with DANE are refused until it is supported."""

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
    """A next hop that a manifest names. The lowest priority is first; weight is among equals."""

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
    """The limits of one site, exact for the whole cluster."""

    connections: int = 20
    messages_per_connection: int = 100
    message_rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A local address to send from, with its name for EHLO and its weight among the sources."""

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
    unverified_login: bool = False  # log in even if the host's certificate is not valid
    pool: str = "default"
    sources: tuple[Source, ...] = ()
    retry: RetrySchedule = RetrySchedule()
    limits: SiteLimits = SiteLimits()

    @property
    def by_mx(self) -> bool:
        """Whether the next hops are MX hosts from the DNS."""
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
    How a Domain receives mail. `recipients` are address patterns; None admits any local part.

    `egress_path` leads to the mail server behind this relay.
    """

    egress_path: EgressPath = field(metadata={STORED: "way_out"})
    recipients: tuple[str, ...] | None = None
    known: frozenset[str] = field(init=False, repr=False, compare=False)
    """The recipients in the form of `any_matches`, which is fast with thousands of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "known", address_keys(self.recipients or ()))


class ClaimBasis(StrEnum):
    """What entitles a Domain to the mail of other namespaces, if anything does."""

    PLATFORM = "Platform"  # its namespace is trusted with every name
    GRANT = "Grant"  # a DomainGrant gives the name to its namespace
    TXT = "TXT"  # a TXT record names the relay and the namespace
    MX = "MX"  # an MX record names the relay
    EARLIER = "Earlier"  # in force since before claims were proven
    NONE = "None"


class Reach(StrEnum):
    """Whose mail a Domain takes besides that of its own namespace."""

    EVERYBODY = "Everybody"
    STRANGERS = "Strangers"  # nobody has proven the name, and this is its oldest Domain
    HOME = "Home"  # nobody has proven the name, and an older Domain has strangers' mail
    NOBODY = "Nobody"  # another namespace has proven the name: the Domain is not in force


@dataclass(frozen=True, slots=True)
class Domain:
    """
    A mail domain that this cluster handles.

    `admits` has the other namespaces whose Clients may send as it; None means every namespace.
    Several namespaces may each have a Domain of one name: `reach` tells which of them takes the
    mail of all others, and `claim` why.
    """

    key: ObjectKey
    domain: str
    receive: Receive | None = None
    sends: bool = False
    relay: ObjectKey | None = None
    admits: frozenset[str] | None = frozenset()
    claim: ClaimBasis = ClaimBasis.EARLIER
    reach: Reach = Reach.EVERYBODY


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """The SCRAM-SHA-256 verifier of a password (RFC 5803), which does not reveal the password."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """Who may submit mail, identified by password or network; `senders` are address patterns."""

    key: ObjectKey
    username: str | None = None
    verifier: ScramVerifier | None = None
    networks: tuple[Network, ...] = ()
    senders: tuple[str, ...] = ()
    relay: ObjectKey | None = None
    traffic_class: TrafficClass = TrafficClass.TRANSACTIONAL
    allowed: frozenset[str] = field(init=False, repr=False, compare=False)
    """The senders in the form of `any_matches`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "allowed", address_keys(self.senders))


def qualified(namespace: str, username: str) -> str:
    """Return a username after its namespace and a slash: no other namespace has this name."""
    return username if username.startswith(f"{namespace}/") else f"{namespace}/{username}"


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
    Whom a quota counts. Each value that `match` (a pattern) admits has a count of its own.

    For CLIENT_NETWORK, `prefix_length` masks IPv4 addresses, `prefix_length_v6` IPv6 addresses.
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
