"""The Client manifest: who may submit mail, and as whom."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from postroad.manifests.cel import CelRule
from postroad.manifests.kinds.part import Part, broken_rule
from postroad.manifests.kinds.shared import PasswordAuth, RelayRef
from postroad.manifests.kinds.types import AddressPattern, NetworkText


class ClientSpec(Part):
    """Who may submit mail: a client that logs in (`auth`), or whose address is in `networks`."""

    auth: PasswordAuth | None = None
    """
    Login by username and password. Only a verifier (SCRAM-SHA-256) of the password is published.
    The login may also be NAMESPACE/USERNAME, which no other namespace can take.
    """
    networks: tuple[NetworkText, ...] = Field(default=(), max_length=256)
    """Networks whose hosts may submit without a login: 10.20.0.0/16, 2001:db8::/32."""
    senders: tuple[AddressPattern, ...] = Field(min_length=1, max_length=1000)
    """
    Addresses that it may send as: info@example.com, *@example.com, *@*.example.com or *. Domains of
    other namespaces must admit this one in their allowedNamespaces. The list applies to the
    envelope only: the From field is not checked, and the null reverse-path (<>) matches every list.
    A sender without a domain counts as one of the relay's own host name.
    """
    relay_ref: RelayRef | None = None
    """
    Relay for its mail. Default: that of the sender's Domain, else the most specific Relay of the
    namespace.
    """
    class_: Literal["Transactional", "Bulk"] = Field(default="Transactional", alias="class")
    """Bulk mail never delays transactional mail."""

    @model_validator(mode="after")
    def _can_be_proven(self) -> Self:
        if self.auth is None and not self.networks:
            raise broken_rule("", "has no way to identify the client; add auth or networks")
        return self

    api_rules: ClassVar[tuple[CelRule, ...]] = (
        CelRule(
            "has(self.auth) || has(self.networks) && size(self.networks) > 0",
            "has no way to identify the client; add auth or networks",
        ),
    )
