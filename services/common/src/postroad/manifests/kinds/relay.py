"""The Relay manifest: how mail leaves, by MX or by smarthosts."""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from postroad.manifests.cel import CelRule, loopback, milliseconds
from postroad.manifests.kinds.part import Part, broken_rule
from postroad.manifests.kinds.shared import (
    AllowedNamespaces,
    NextHop,
    PasswordAuth,
    check_hosts,
    host_rules,
)
from postroad.manifests.kinds.types import (
    Count,
    DomainPattern,
    Duration,
    EhloName,
    Factor,
    MessageRate,
    PoolName,
    ResourceName,
    SourceAddress,
    Switch,
    Within,
)
from postroad.policy.model import TlsMode
from postroad.units.quantities import format_duration

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)

_HOSTS = "(has(self.smarthosts) && size(self.smarthosts) > 0)"


def _login(host: str) -> str:
    own, shared = f"{host}.auth.secretRef.name", "self.auth.secretRef.name"
    return f"(has({host}.auth) ? {own} : has(self.auth) ? {shared} : '')"


class Mx(Part):
    """Delivery to the MX hosts of each recipient's domain (RFC 5321 §5); it has no settings."""


class SmarthostSpec(NextHop):
    """A host that takes mail for everywhere."""

    auth: PasswordAuth | None = None
    """
    How to log in at this host. Default: `spec.auth`. It must be the same for all hosts, for now.
    """


class RelayTls(Part):
    """Which TLS the next hop must offer."""

    mode: TlsMode = TlsMode.OPPORTUNISTIC
    """
    None: never TLS. Opportunistic: TLS where it is offered, without verifying certificates.
    Required: TLS or no delivery. Verified: TLS with a certificate that is valid for the host's
    name. If the Relay logs in, the certificate is verified in any mode.
    """
    implicit: Switch | None = None
    """TLS from the first byte instead of STARTTLS. Default: on port 465 only. Smarthosts only."""
    allow_unverified_login: Switch = False
    """
    Log in under TLS even if the certificate is not valid for the host's name. A man in the middle
    then learns the password. Without this setting no login is sent to such a host.
    """


class EgressSource(Part):
    """An address to send from."""

    name: ResourceName
    """Name of the source in the log."""
    address: SourceAddress | None = None
    """Local IP address of outgoing connections. Default: the system chooses."""
    ehlo: EhloName | None = None
    """Host name in EHLO. Default: that of the process."""
    weight: Count = Field(default=1, ge=1, le=65535)
    """Share of connections among the sources."""


class Egress(Part):
    """Where mail leaves from."""

    pool: PoolName = "default"
    """Egress pool: the delivery processes that send this Relay's mail."""
    sources: tuple[EgressSource, ...] = Field(default=(), max_length=64)
    """Addresses to send from."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise broken_rule(f"sources[{index}].name", f"{name} is the name of two sources")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "!has(self.sources)"
            " || self.sources.all(s, self.sources.exists_one(o, o.name == s.name))",
            "has two sources of one name; give each its own",
            "sources",
        ),
    )


class Retry(Part):
    """When to try again what was deferred, and when to give up."""

    first: Annotated[Duration, Within(_SECOND, _DAY)] = timedelta(minutes=15)
    """Wait after the first deferred attempt."""
    factor: Factor = Field(default=1.5, ge=1, le=10)
    """Factor by which each wait grows."""
    max: Annotated[Duration, Within(_SECOND, 7 * _DAY)] = timedelta(hours=4)
    """Longest wait."""
    lifetime: Annotated[Duration, Within(_SECOND, 30 * _DAY)] = timedelta(days=5)
    """Queue lifetime: how long a message may wait in all before it bounces."""
    delay_warning: Annotated[Duration, Within(_SECOND, 30 * _DAY, never=True)] = timedelta(hours=4)
    """Age at which the sender gets a delay warning, once. 0s: never."""

    @model_validator(mode="after")
    def _waits_grow(self) -> Self:
        if self.max < self.first:
            raise broken_rule(
                "max" if "max" in self.model_fields_set else "first",
                f"max ({format_duration(self.max)}) is less than first"
                f" ({format_duration(self.first)}); raise max or lower first",
            )
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            f"{milliseconds('self.max')} >= {milliseconds('self.first')}",
            "max is less than first; raise max or lower first",
            "max",
            detail="'max (' + self.max + ') is less than first (' + self.first"
            " + '); raise max or lower first'",
        ),
    )


class Limits(Part):
    """
    What each site (set of MX hosts, or the smarthosts) is asked to bear.

    Kept for each Relay, whoever else sends to the same hosts.
    """

    connections: Count = Field(default=20, ge=1, le=10_000)
    """Most concurrent connections to a site from the whole cluster. A site starts with five."""
    messages_per_connection: Count = Field(default=100, ge=1, le=100_000)
    """Messages sent over one connection before it is closed."""
    message_rate: MessageRate | None = None
    """
    Messages per window to a site from the whole cluster. Default: unlimited. A message counts once,
    even if its recipients need several transactions or hosts. A delivery process that takes over a
    site, for example after a restart, continues its window. So it does with the window that Relays
    to the same MX hosts share.
    """


class RelaySpec(Part):
    """How mail leaves: direct delivery by MX, or by smarthosts."""

    destinations: tuple[DomainPattern, ...] = Field(default=("*",), min_length=1, max_length=1000)
    """
    Recipient domains of this Relay: example.com, *.example.com for its subdomains, or *. The most
    specific match among the Relays of a namespace wins.
    """
    mx: Mx | None = None
    """Deliver to the MX hosts of each recipient's domain. Exactly one of mx and smarthosts."""
    smarthosts: tuple[SmarthostSpec, ...] = Field(default=(), max_length=64)
    """Hand all mail to these hosts. Exactly one of mx and smarthosts."""
    auth: PasswordAuth | None = None
    """How to log in at the smarthosts."""
    tls: RelayTls = RelayTls()
    """Which TLS the next hop must offer."""
    egress: Egress = Egress()
    """Where mail leaves from."""
    retry: Retry = Retry()
    """When deferred mail is tried again."""
    limits: Limits = Limits()
    """
    Limits of this Relay's mail at each site. If several Relays send to a site at the same time,
    also in several pools, the largest of their limits applies to all of them together.
    """
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """The namespaces whose Domains and Clients may name this Relay."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.mx is None and not self.smarthosts:
            raise broken_rule(
                "", "names no next hop; add mx: {} to deliver to MX hosts, or smarthosts"
            )
        for error in self.at_odds({"mx": self.mx, "smarthosts": self.smarthosts}):
            raise error
        if self.mx is not None:
            self._check_mx()
        else:
            self._check_smarthosts()
        return self

    @classmethod
    def at_odds(cls, given: Mapping[str, object]) -> Iterator[PydanticCustomError]:
        """Yield an error if both mx and smarthosts are given."""
        if given.get("mx") is not None and given.get("smarthosts"):
            yield broken_rule("smarthosts", "cannot go with mx; keep one of the two")

    def _check_mx(self) -> None:
        if self.auth is not None:
            raise broken_rule("auth", "goes with smarthosts only; MX hosts take no login")
        if self.tls.implicit is not None:
            raise broken_rule("tls.implicit", "goes with smarthosts only; MX hosts use STARTTLS")

    def _check_smarthosts(self) -> None:
        if len(set(self.logins)) > 1:
            raise broken_rule(
                "smarthosts",
                "several logins in one Relay are not supported yet; use one Secret for all"
                " smarthosts, or a Relay for each",
            )
        implicit = self.implicit_tls  # also checks that no host is listed twice
        if self.tls.mode is not TlsMode.NONE:
            return
        if implicit:
            raise broken_rule(
                "tls.mode", "None contradicts TLS from the first byte (port 465 or tls.implicit)"
            )
        if self.login and not all(is_loopback(hop.host) for hop in self.smarthosts):
            raise broken_rule(
                "tls.mode", "None would send the password in the clear; use Required or Verified"
            )

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            f"has(self.mx) || {_HOSTS}",
            "names no next hop; add mx: {} to deliver to MX hosts, or smarthosts",
        ),
        CelRule(
            f"!has(self.mx) || !{_HOSTS}", "cannot go with mx; keep one of the two", "smarthosts"
        ),
        CelRule(
            "!has(self.mx) || !has(self.auth)",
            "goes with smarthosts only; MX hosts take no login",
            "auth",
        ),
        CelRule(
            "!has(self.mx) || !has(self.tls.implicit)",
            "goes with smarthosts only; MX hosts use STARTTLS",
            "tls.implicit",
        ),
        CelRule(
            f"!{_HOSTS} || self.smarthosts.all(h, {_login('h')} == {_login('self.smarthosts[0]')})",
            "several logins in one Relay are not supported yet; use one Secret for all smarthosts,"
            " or a Relay for each",
            "smarthosts",
        ),
        *(
            replace(rule, cel=f"!{_HOSTS} || {rule.cel}")
            for rule in host_rules("smarthosts", by_port="!has(self.tls.implicit)")
        ),
        CelRule(
            f"self.tls.mode != 'None' || !{_HOSTS} || (has(self.tls.implicit) ? !self.tls.implicit"
            " : !self.smarthosts.all(h, h.port == 465))",
            "None contradicts TLS from the first byte (port 465 or tls.implicit)",
            "tls.mode",
        ),
        CelRule(
            f"self.tls.mode != 'None' || !{_HOSTS}"
            " || !(has(self.auth) || self.smarthosts.exists(h, has(h.auth)))"
            f" || self.smarthosts.all(h, {loopback('h.host')})",
            "None would send the password in the clear; use Required or Verified",
            "tls.mode",
        ),
    )

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS starts with the first byte."""
        return check_hosts(self.smarthosts, "smarthosts", implicit=self.tls.implicit)

    @property
    def logins(self) -> tuple[str | None, ...]:
        """The Secret to log in with, for each smarthost."""
        auths = (hop.auth or self.auth for hop in self.smarthosts)
        return tuple(auth.secret_ref.name if auth else None for auth in auths)

    @property
    def login(self) -> str | None:
        """The Secret to log in with, None without a login."""
        return self.logins[0] if self.smarthosts else None


def is_loopback(host: str) -> bool:
    """Whether a smarthost is the loopback interface, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
