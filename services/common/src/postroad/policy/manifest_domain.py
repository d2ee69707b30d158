"""The Domain manifest: a mail domain this cluster receives for, sends for, or both."""

from typing import Literal, Self

from pydantic import Field, model_validator

from postroad.policy.manifest_shared import AllowedNamespaces, NextHop, RelayRef, check_hosts
from postroad.policy.manifest_types import AddressPattern, DomainName, Part, broken_rule
from postroad.policy.model import TlsMode


class Route(Part):
    """The way to the real server behind this relay."""

    hosts: tuple[NextHop, ...] = Field(min_length=1, max_length=64)
    """Hosts that take the domain's mail, by priority and weight."""
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    """None: never TLS. Opportunistic: TLS where offered, without checking certificates. Required:
    TLS or no delivery. Verified: TLS with a certificate that is valid for the host's name."""

    @model_validator(mode="after")
    def _tls_fits_ports(self) -> Self:
        if self.implicit_tls and self.tls is TlsMode.NONE:
            raise broken_rule("tls", "None contradicts port 465, which is TLS from the first byte")
        return self

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS starts with the first byte."""
        return check_hosts(self.hosts, "hosts")


class Recipients(Part):
    """Which recipients of the domain exist."""

    mode: Literal["List", "Any"]
    """List: those in `addresses`. Any: every local part, and the real server decides later."""
    addresses: tuple[AddressPattern, ...] = Field(default=(), max_length=10_000)
    """Addresses of this domain that take mail: info@example.com, or *@example.com for all.
    postmaster always does."""

    @model_validator(mode="after")
    def _addresses_fit_mode(self) -> Self:
        if self.mode == "List" and not self.addresses:
            raise broken_rule("addresses", "is required with mode: List; name who takes mail")
        if self.mode == "Any" and self.addresses:
            raise broken_rule("addresses", "has no meaning with mode: Any; remove it")
        return self


class ReceiveSpec(Part):
    """What the domain takes, and where it goes."""

    route: Route
    """The real server behind this relay."""
    recipients: Recipients = Recipients(mode="Any")
    """Which recipients exist. Without it every local part is taken, and what the real server
    refuses later must be bounced: better list them."""
    mode: Literal["Queued"] = "Queued"
    """Queued: taken into the queue at once, then delivered."""


class SendSpec(Part):
    """How the domain's own mail leaves."""

    relay_ref: RelayRef | None = None
    """Relay for mail from this domain; when left out, that of the Client, else the most specific
    Relay of the namespace."""


class DomainSpec(Part):
    """A mail domain this cluster handles."""

    domain: DomainName
    """The mail domain, such as example.com; without wildcards. Of two Domains that claim one name
    the older wins."""
    receive: ReceiveSpec | None = None
    """How mail to the domain is received; leave out to only send."""
    send: SendSpec | None = None
    """How mail from the domain is sent; leave out to only receive."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Which namespaces' Clients may send as this domain."""

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
