"""
The sites of a process: creates them, counts their shares of the places, and forgets idle ones.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from postroad.delivery.routing.egress_paths import same_hosts
from postroad.delivery.sites.limits import SiteLimiter
from postroad.delivery.sites.pool import SessionPool
from postroad.delivery.sites.shares import Shares
from postroad.delivery.sites.site import Site
from postroad.delivery.sites.total import SiteTotal
from postroad.policy.model import EgressPath, SiteLimits, Smarthost
from postroad.spool.agreement import named_site
from postroad.spool.lanes.owners import LaneKey

_RECOUNT = 0.25  # seconds
_REMEMBERED = 600.0  # seconds for which a site without mail is remembered
_MANY = 2_000  # sites without mail


class Sites:
    """
    All sites of a process, by name and egress path.

    `in_hand` is the most records of the process. `share` gets the total of each new site and the
    name of its Relay, and lets the total be shared if processes of other pools send there too.
    """

    def __init__(self, in_hand: int, share: Callable[[SiteTotal[Site], str], None]) -> None:
        self._turned: set[tuple[str, str]] = set()  # sites whose smarthosts changed
        self._sites: dict[tuple[str, str], Site] = {}
        self._totals: dict[str, SiteTotal[Site]] = {}
        self._withdrawn: list[Site] = []  # sites with replaced smarthosts and connections in use
        self._elsewhere: Mapping[str, int] = {}
        self._shares = Shares(in_hand)
        self._counted = 0.0
        self._share = share

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites.values())

    def of(self, name: str, egress_path: EgressPath) -> Site:
        """Return the site of an egress path, with its current limits."""
        site = self._sites.get((name, egress_path.name))
        if site is None:
            return self._new(name, egress_path)
        if not (
            site.hosts is egress_path.smarthosts or same_hosts(site.hosts, egress_path.smarthosts)
        ):
            return self._anew(site, egress_path)
        self.go_on(site, egress_path)
        return site

    def go_on(self, site: Site, egress_path: EgressPath) -> None:
        """Apply an edited egress path that still has some of the site's hosts."""
        if site.hosts is not egress_path.smarthosts:
            self._turned.add(site.key)
            _turn_to(site, egress_path.smarthosts)
            self._count_withdrawn(site)
            self._count_elsewhere(site)
        if site.limiter.limits != egress_path.limits:
            site.adopt(egress_path.limits)

    def _count_withdrawn(self, site: Site) -> None:
        """Count connections in use to replaced hosts that the site has again."""
        for former in [each for each in self._withdrawn if each.key == site.key]:
            if same_hosts(former.hosts_in_use, site.hosts):
                self._withdrawn.remove(former)
                _count_for(site, former)

    def _new(self, name: str, egress_path: EgressPath) -> Site:
        total = self._totals.get(name)
        if total is None:
            total = SiteTotal(name, by_mx=egress_path.by_mx, own=egress_path.limits)
            self._totals[name] = total
            self._share(total, egress_path.name)
        total.members += 1
        limiter = SiteLimiter(egress_path.limits, leased=True)
        site = Site(egress_path.name, limiter, self._shares, total)
        _turn_to(site, egress_path.smarthosts)
        self._count_withdrawn(site)
        self._count_elsewhere(site)
        self._sites[site.key] = site
        return site

    def _anew(self, before: Site, egress_path: EgressPath) -> Site:
        """
        Replace a site whose smarthosts are all different now.

        Connections to the former hosts do not count for the new site, unless these hosts come back.
        The message rate is kept, since it applies to a Relay's smarthosts, whichever they are.
        """
        self._turned.add(before.key)
        self._drop(before)
        if before.limiter.connections:
            self._withdrawn.append(before)
        site = self._new(before.name, egress_path)
        _follow(site, before)
        site.limiter.inherit(before.limiter)
        return site

    def turn(self, egress_paths: Mapping[str, EgressPath], pool: SessionPool) -> None:
        """
        Apply edited smarthosts, by egress path, after the mail that waited for others has left.

        A Relay's mail may belong to another pool now, whose processes must know what is in use
        here. Idle sessions of a site whose smarthosts changed are closed: they may be to any of
        the former ones.
        """
        for site in [each for each in self if not each.total.by_mx]:
            now = egress_paths.get(site.relay)
            if now is not None and not now.by_mx:
                self.of(site.name, now)
        for former in list(self._withdrawn):
            now = egress_paths.get(former.relay)
            if now is not None and same_hosts(former.hosts_in_use, now.smarthosts):
                self.of(former.name, now)
        for key in self._turned:
            for session in pool.surplus(key, 0):
                session.hang_up()
        self._turned.clear()

    def leave(self, lane_key: LaneKey) -> None:
        """Note that a lane went to another process, which must know the connections in use."""
        for site in [*self, *self._withdrawn]:
            site.is_left = site.is_left or site.lane_key == lane_key

    def left_open(self, pool: SessionPool) -> Mapping[str, int]:
        """Return the open connections at sites of left lanes, by hashed names."""
        counts: Counter[str] = Counter()
        known = [(site, pool.count(site.key)) for site in self if site.is_left]
        for site, idle in known + [(site, 0) for site in self._withdrawn if site.is_left]:
            count = site.limiter.connections + idle
            counts.update(dict.fromkeys([named_site(site.name), *_names(site)], count))
            site.is_left = count > 0
        return +counts

    def heed_elsewhere(self, counts: Mapping[str, int]) -> None:
        """Subtract the connections that former owners of the sites still use from the limits."""
        self._elsewhere = counts
        for site in self:
            self._count_elsewhere(site)

    def _count_elsewhere(self, site: Site) -> None:
        counts, total = self._elsewhere, site.total
        of_path = max((counts.get(name, 0) for name in _names(site)), default=0) if counts else 0
        of_all = counts.get(named_site(site.name), 0) if counts and total.by_mx else of_path
        site.limiter.elsewhere = of_path
        # Where several pools meet, those processes have claims of their own.
        total.limiter.elsewhere = of_all if total.ends or not total.is_shared else 0

    def renew(self, limits: Mapping[str, SiteLimits]) -> None:
        """Apply the limits of egress paths, by name, also to sites without mail."""
        for site in self:
            now = limits.get(site.relay)
            if now == site.limiter.limits:
                continue
            if now is not None:
                site.adopt(now)
            site.total.outdate()

    @property
    def totals(self) -> Collection[SiteTotal[Site]]:
        """The total use of each site, also of smarthosts that were withdrawn while in use."""
        return [*self._totals.values(), *(site.total for site in self._withdrawn)]

    def share_again(self) -> None:
        """Share the known sites as the new configuration has it."""
        for site in [*self, *self._withdrawn]:
            self._share(site.total, site.relay)
        self.heed_elsewhere(self._elsewhere)

    def keep_count(self, now: float) -> None:
        """Count the shares of the places, unless that was done a moment ago."""
        if now - self._counted >= _RECOUNT:
            self.count_shares(now)

    def count_shares(self, now: float) -> None:
        """Count the places of each site that will not be free soon."""
        self._counted = now
        for site in (*self, *self._withdrawn):
            site.pace.looks(now)
            site.under_way.recount(moves=site.moves(now))
        self._shares.recount(site.lasting(now) for site in self)

    def forget(self, now: float) -> None:
        """Forget sites that have had no mail for a while; with many sites, at once."""
        self._withdrawn = [site for site in self._withdrawn if site.limiter.connections]
        idle = [site for site in self if _may_be_forgotten(site, now)]
        kept = _REMEMBERED if len(idle) <= _MANY else 0.0
        for site in idle:
            if now - site.pace.since > kept:
                self._drop(site)

    def _drop(self, site: Site) -> None:
        del self._sites[site.key]
        site.total.members -= 1
        if not site.total.members:
            del self._totals[site.name]


def _may_be_forgotten(site: Site, now: float) -> bool:
    """Whether only its pace would be lost if a site were forgotten."""
    if not site.idle or site.downtime.lasts(now):
        return False
    return not site.limiter.remembers(now) and not site.total.limiter.remembers(now)


def _names(site: Site) -> list[str]:
    """
    Return the hashed names for the connections of an egress path at a site.

    There is one for each smarthost: what is in use at others does not count after an edit.
    """
    if site.total.by_mx:
        return [named_site(*site.key)]
    return [named_site(*site.key, host) for host in _endpoints(site.hosts_in_use)]


def _endpoints(hosts: Iterable[Smarthost]) -> list[str]:
    return sorted({f"{host.host}:{host.port}" for host in hosts})


def _turn_to(site: Site, hosts: tuple[Smarthost, ...]) -> None:
    """Set a site's smarthosts; the former ones may still have connections in use."""
    kept = site.hosts_in_use if site.limiter.connections else ()
    site.hosts_in_use = hosts + tuple(host for host in kept if host not in hosts)
    site.hosts = hosts
    claimed_as = " ".join([site.name, *_endpoints(hosts)])
    if site.total.is_shared and claimed_as != site.total.claimed_as:
        # What was claimed of others does not count. Nothing begins before there is a new claim.
        site.total.lease(0, site.total.limiter.limits.message_rate)
    site.total.claimed_as = claimed_as


def _count_for(heir: Site, former: Site) -> None:
    """Count the connections of a replaced site for another one, until they are closed."""
    former.heir = heir
    _follow(heir, former)
    heir.hosts_in_use += former.hosts_in_use
    heir.limiter.connections += former.limiter.connections
    heir.total.limiter.connections += former.limiter.connections


def _follow(heir: Site, former: Site) -> None:
    """Keep the lane of a replaced site, which may have gone to another process."""
    heir.lane_key = heir.lane_key or former.lane_key
    heir.is_left = heir.is_left or former.is_left
