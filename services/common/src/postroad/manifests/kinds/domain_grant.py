"""The DomainGrant manifest: which names the owner of the relay gives to which namespaces."""

from pydantic import Field

from postroad.manifests.kinds.part import Part
from postroad.manifests.kinds.types import DomainPattern, NamespaceName


class DomainGrantSpec(Part):
    """
    Gives names to namespaces: their Domains of these names receive the mail of all namespaces.

    It counts only in the namespace of the release. Files need none.
    """

    domains: tuple[DomainPattern, ...] = Field(min_length=1, max_length=1000)
    """Names of domains: example.com, *.example.com (its subdomains only), or * for every name."""
    namespaces: tuple[NamespaceName, ...] = Field(min_length=1, max_length=1000)
    """Namespaces whose Domains may have these names."""
