"""This process's share of a site that pools share, as `delivery.sharing.claims` keeps it."""

from dataclasses import dataclass

from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.limits.portions import Claim


@dataclass(slots=True, eq=False)
class SiteShare:
    """This process's portion of a site, and the name of the record with its claim."""

    total: SiteTotal[Site]
    record: str
    claims: tuple[Claim, ...] = ()  # when last read
    holds: int = 0
    asked: float = 0.0
    used: float = 0.0  # when it last had mail
    asking: bool = False
    alone_since: float | None = None  # since when nobody else uses it, or will

    @property
    def is_former(self) -> bool:
        """Whether the site has other smarthosts by now, and so another record."""
        return self.record != self.total.claimed_as
