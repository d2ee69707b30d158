"""
The site that was chosen for a record, where answers of the DNS differ. No I/O; time is an argument.

Only the owner of a site's lane may deliver there, and each process asks the DNS for itself. If the
answers alternate, or the resolvers disagree, a record that is moved to the owner of the site that
was found would there belong to another site, and so on. So if a process finds another site than the
record's, it writes into the record what it found, and the owner keeps to that.

A choice is heeded for a short time, as the MX records may have changed for good since. Where the
lane has so much mail that the time is over, the owner chooses anew. Each choice is heeded for four
times as long as the one before it. So a record settles soon, however often the answers change.
"""

from datetime import datetime, timedelta

from postroad.delivery.routing.addresses import AddressRules
from postroad.delivery.routing.routes import MailHost, Route
from postroad.spool.record import ChosenSite

_HEEDED = timedelta(seconds=30)  # the first choice; a room holds what its site takes in ten seconds
_LONGER = 4.0
MOST_CHOICES = 8  # the last one is heeded for days; no more are made before the mail was put off


def choose(route: Route, before: ChosenSite | None, now: datetime) -> ChosenSite:
    """Return the choice of a route's site, after the one that was made before."""
    hosts = tuple((host.name, host.addresses) for host in route.hosts)
    number = before.number + 1 if before is not None else 1
    return ChosenSite(route.site, hosts, now, number, is_whole=not route.is_partial)


def route_by(
    chosen: ChosenSite | None, site: str, *, port: int, rules: AddressRules, now: datetime
) -> Route | None:
    """
    Return the route to a record's `site` by what was chosen, None if that is not heeded now.

    An older release, which does not know of the choice, may have moved the record elsewhere.
    """
    if chosen is None or chosen.site != site or not _is_heeded(chosen, now):
        return None
    found = ((name, tuple(filter(rules.admit, addresses))) for name, addresses in chosen.hosts)
    hosts = tuple(MailHost(name, port, addresses) for name, addresses in found if addresses)
    return Route(site, hosts, is_partial=not chosen.is_whole) if hosts else None


def _is_heeded(chosen: ChosenSite, now: datetime) -> bool:
    seconds = _HEEDED.total_seconds() * _LONGER ** (min(chosen.number, MOST_CHOICES) - 1)
    # The clocks of two machines may differ in either direction.
    return abs((now - chosen.at).total_seconds()) < seconds
