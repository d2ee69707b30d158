"""The Domain manifest: a mail domain this cluster receives for, sends for, or both."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from postroad.manifests.cel import CelRule
from postroad.manifests.kinds.part import Part, broken_rule
from postroad.manifests.kinds.shared import (
    AllowedNamespaces,
    NextHop,
    RelayRef,
    check_hosts,
    host_rules,
)
from postroad.manifests.kinds.types import DomainName, ListedAddress
from postroad.policy.model import TlsMode

# Another name means another domain, with other mail, other DNS records and perhaps another owner.
_SAME_DOMAIN = CelRule(
    "self.domain == oldSelf.domain",
    "cannot be changed; make another Domain for the other name, then delete this one",
    "domain",
)
_FOREIGN_ADDRESS = CelRule(
    "!has(self.receive) || !has(self.receive.recipients.addresses)"
    # Internationalised names have two spellings; the operator knows both.
    " || !self.domain.matches('^[!-~]*[^.]$') || self.receive.recipients.addresses.all(a, a == '*'"
    " || a.lowerAscii().endsWith('@' + self.domain.lowerAscii()) || !a.matches('@[!-~]+[^.]$'))",
    "has an address of another domain; a Domain lists its own addresses only",
    "receive.recipients.addresses",
)


class RouteSpec(Part):
    """The way to the real server behind this relay."""

    hosts: tuple[NextHop, ...] = Field(min_length=1, max_length=64)
    """Hosts that accept the domain's mail, by priority and weight."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    """
    None: never TLS. Opportunistic: TLS where it is offered, without verifying certificates.
    Required: TLS or no delivery. Verified: TLS with a certificate that is valid for the host's
    name.
    """

    @model_validator(mode="after")
    def _tls_fits_ports(self) -> Self:
        if self.implicit_tls and self.tls is TlsMode.NONE:
            raise broken_rule("tls", "None contradicts port 465, which is TLS from the first byte")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        *host_rules("hosts"),
        CelRule(
            "self.tls != 'None' || !self.hosts.all(h, h.port == 465)",
            "None contradicts port 465, which is TLS from the first byte",
            "tls",
        ),
    )

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS starts with the first byte."""
        return check_hosts(self.hosts, "hosts")


class Recipients(Part):
    """Which recipients of the domain exist."""

    mode: Literal["List", "Any"]
    """List: those in `addresses`. Any: every local part, and the mail server decides later."""
    addresses: tuple[ListedAddress, ...] = Field(default=(), max_length=10_000)
    """
    Addresses of this domain that accept mail: info@example.com, or *@example.com for all.
    postmaster always accepts mail; no other address does unless it is listed, not even abuse. A
    subaddress (info+tag@) is an address of its own: list it too.
    """

    @model_validator(mode="after")
    def _addresses_fit_mode(self) -> Self:
        if self.mode == "List" and not self.addresses:
            raise broken_rule("addresses", "is required with mode: List; name who takes mail")
        if self.mode == "Any" and self.addresses:
            raise broken_rule("addresses", "has no meaning with mode: Any; remove it")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "self.mode != 'List' || has(self.addresses) && size(self.addresses) > 0",
            "is required with mode: List; name who takes mail",
            "addresses",
        ),
        CelRule(
            "self.mode != 'Any' || !has(self.addresses) || size(self.addresses) == 0",
            "has no meaning with mode: Any; remove it",
            "addresses",
        ),
    )


class ReceiveSpec(Part):
    """What the domain takes, and where it goes."""

    route: RouteSpec
    """The mail server behind this relay."""
    recipients: Recipients = Recipients(mode="Any")
    """
    Which recipients exist. Without it every local part is accepted, and mail that the mail server
    refuses later must bounce. So it is better to list them.
    """
    mode: Literal["Queued"] = "Queued"
    """Queued: mail is accepted into the queue at once, then delivered."""


class SendSpec(Part):
    """How the domain's own mail leaves."""

    relay_ref: RelayRef | None = None
    """
    Relay for mail from this domain. Default: that of the Client, else the most specific Relay of
    the namespace.
    """


class DomainSpec(Part):
    """A mail domain this cluster handles."""

    domain: DomainName
    """
    The mail domain, such as example.com; without wildcards. Of two Domains of one name in a
    namespace the older one wins. Other namespaces' mail comes here only if a DomainGrant or the DNS
    proves the name, see docs/security.md.
    """
    receive: ReceiveSpec | None = None
    """How mail to the domain is received. Leave it out to only send."""
    send: SendSpec | None = None
    """How mail from the domain is sent. Leave it out to only receive."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """The namespaces whose Clients may send as this domain."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.receive is None and self.send is None:
            raise broken_rule("", "neither receives nor sends; add receive, or send: {}")
        if self.receive is not None:
            for index, pattern in enumerate(self.receive.recipients.addresses):
                if pattern != "*" and pattern.rpartition("@")[2] != self.domain:
                    raise broken_rule(
                        f"receive.recipients.addresses[{index}]",
                        f"{pattern} is not an address of {self.domain}; a Domain lists its own",
                    )
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "has(self.receive) || has(self.send)",
            "neither receives nor sends; add receive, or send: {}",
        ),
        _SAME_DOMAIN,
        _FOREIGN_ADDRESS,
    )
