"""
Finds the route and the site of an egress path and a domain. It asks the DNS; `routes` decides.

A route is cached for some seconds, so that a burst of mail asks once. MX hosts of equal preference
are shuffled for each route.

A domain may have any number of MX hosts that nobody can look up. So the search ends after a few
unanswered hosts. If no host was found, or many were unanswered, the domain itself counts as slow
for a while, because it may name other hosts the next time.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from postroad.delivery import metrics
from postroad.delivery.routing.addresses import AddressRules, usable_addresses
from postroad.delivery.routing.chosen import route_by
from postroad.delivery.routing.routes import (
    MAX_HOSTS,
    MailHost,
    NoRoute,
    Route,
    distinct,
    literal_route,
    mx_route,
    order_mx,
    order_smarthosts,
    unknown,
)
from postroad.dns.answers import AddressAnswer, DnsFailure
from postroad.dns.questions.lines import Asker
from postroad.dns.questions.silence import Silence
from postroad.dns.resolver import Resolver
from postroad.mail.address import literal_address
from postroad.mail.status import EnhancedStatus
from postroad.mail.traffic import TrafficClass
from postroad.policy.model import EgressPath, Smarthost
from postroad.spool.record import ChosenSite
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

OWN_ERROR = NoRoute(EnhancedStatus(4, 3, 0), "local error")  # says nothing about the site
# Temporary: the administrator may allow what the Relay or Domain names.
_DENIED = NoRoute(EnhancedStatus(4, 7, 1), "is on an address that mail may not be sent to")
_NOT_IN_TIME = AddressAnswer((), DnsFailure.TEMPORARY, "the DNS does not answer")
_GRACE = 3.0  # seconds to wait for all hosts' addresses when some are known
_KEPT = 5.0  # seconds for which a route is cached
_MANY = 20_000
_MOST_ASKED = 3 * MAX_HOSTS  # the most MX hosts of a domain that are looked up
_MOST_UNANSWERED = 5  # unanswered MX hosts of a domain, after which no others are looked up


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What routes depend on besides the mail: the MX port, and hosts to avoid."""

    smtp_port: int
    rules: AddressRules  # for MX hosts
    own_names: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Kept:
    egress_path: EgressPath
    until: float  # monotonic
    route: Route | NoRoute


class Router:
    """Routes by egress path and destination domain."""

    def __init__(self, resolver: Resolver, settings: RouterSettings) -> None:
        self._resolver = resolver
        self._settings = settings
        self._dice = random.Random()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._silence = Silence()  # of domains with slow hosts

    def known(self, egress_path: EgressPath, domain: str) -> Route | NoRoute | None:
        """Return a cached route, None when it must be looked for."""
        kept = self._kept.get((egress_path.name, self._destination(egress_path, domain)))
        if kept is None or kept.until <= time.monotonic():
            return None
        # The egress path may have been edited since; usually it is the same object.
        return (
            kept.route
            if kept.egress_path is egress_path or kept.egress_path == egress_path
            else None
        )

    def known_to(
        self, egress_path: EgressPath, domain: str, site: str, chosen: ChosenSite | None
    ) -> Route | NoRoute | None:
        """
        Return a known route, if possible one to a record's `site`; None when it must be looked for.

        It may be the route that was `chosen` when the record was moved.
        """
        known = self.known(egress_path, domain)
        if chosen is None or not egress_path.by_mx:
            return known
        if isinstance(known, Route) and known.site == site:
            return known
        port, rules = self._settings.smtp_port, self._settings.rules
        return route_by(chosen, site, port=port, rules=rules, now=datetime.now(UTC)) or known

    def asks_nobody(self, egress_path: EgressPath, domain: str) -> bool:
        """Whether a route can be found without a question to the DNS."""
        if egress_path.smarthosts:
            return all(
                _literal(host) is not None or self._resolver.knows_addresses(host.host)
                for host in egress_path.smarthosts
            )
        return literal_address(domain) is not None or self._resolver.knows_hosts(domain)

    def is_slow(self, egress_path: EgressPath, domain: str) -> bool:
        """Whether the names that a route depends on were unanswered recently."""
        if egress_path.smarthosts:
            return all(
                _literal(host) is None and self._resolver.has_slow_addresses(host.host)
                for host in egress_path.smarthosts
            )
        return self._has_slow_hosts(domain) or self._resolver.is_slow(domain)

    def _has_slow_hosts(self, domain: str) -> bool:
        return self._silence.has(domain, time.monotonic())

    async def find(
        self,
        egress_path: EgressPath,
        domain: str,
        traffic_class: TrafficClass = TrafficClass.TRANSACTIONAL,
        sender: str = "",
    ) -> Route | NoRoute:
        """
        Look for a route. After an unexpected error there is none, for a while.

        The turns to ask the DNS are shared by class and by `sender`.
        """
        try:
            asker = Asker(
                egress_path.name if egress_path.smarthosts else domain,
                traffic_class,
                not egress_path.smarthosts and self._has_slow_hosts(domain),
                sender,
            )
            return await self._find(egress_path, domain, asker)
        except Exception:
            metrics.INTERNAL_ERRORS.inc()
            log.exception("the search for a route failed", domain=domain)
            return OWN_ERROR

    async def _find(self, egress_path: EgressPath, domain: str, asker: Asker) -> Route | NoRoute:
        if egress_path.smarthosts:
            route = await self._smarthost_route(egress_path, asker)
        else:
            route = await self._mx_route(domain, asker)
        key = (egress_path.name, self._destination(egress_path, domain))
        self._kept[key] = _Kept(egress_path, time.monotonic() + _KEPT, route)
        self._kept.move_to_end(key)
        while len(self._kept) > _MANY:
            self._kept.popitem(last=False)
        return route

    @staticmethod
    def _destination(egress_path: EgressPath, domain: str) -> str:
        return "" if egress_path.smarthosts else domain

    async def _smarthost_route(self, egress_path: EgressPath, asker: Asker) -> Route | NoRoute:
        hosts = []
        trouble = NoRoute(EnhancedStatus(4, 4, 3), "none of the smarthosts has an address")
        names = [host.host for host in egress_path.smarthosts if _literal(host) is None]
        # A smarthost comes from the configuration, so it may have a private address.
        rules = replace(self._settings.rules, allow_private=True)
        answers = await self._ask(list(dict.fromkeys(names)), asker, rules)
        for smarthost in order_smarthosts(egress_path.smarthosts, self._dice):
            literal = _literal(smarthost)
            answer = AddressAnswer((literal,)) if literal else answers[smarthost.host]
            addresses = usable_addresses(answer, rules)
            if addresses:
                hosts.append(MailHost(smarthost.host, smarthost.port, addresses))
            elif answer.addresses and answer.is_complete:
                trouble = replace(_DENIED, reason=f"{smarthost.host} {_DENIED.reason}")
            elif answer.detail:
                why = unknown(answer)
                trouble = replace(why, reason=f"{smarthost.host}: {why.reason}")
        if not hosts:
            return trouble
        # Somebody has named the others, so they may yet be found.
        is_partial = len(hosts) < len(egress_path.smarthosts)
        return Route(egress_path.name, distinct(hosts), is_partial)

    async def _mx_route(self, domain: str, asker: Asker) -> Route | NoRoute:
        settings = self._settings
        literal = literal_route(domain, port=settings.smtp_port, rules=settings.rules)
        if literal is not None:
            return literal
        answer = await self._resolver.mx(domain, asker)
        names = order_mx(domain, answer, settings.own_names, self._dice)
        if isinstance(names, NoRoute):
            return names
        return mx_route(
            names,
            await self._addresses_of(names, asker),
            port=settings.smtp_port,
            rules=settings.rules,
            implicit=not answer.records,
        )

    async def _addresses_of(self, names: Sequence[str], asker: Asker) -> dict[str, AddressAnswer]:
        """Look up hosts, a few at a time, until enough of them have usable addresses."""
        answers: dict[str, AddressAnswer] = {}
        usable = unanswered = 0
        for start in range(0, min(len(names), _MOST_ASKED), MAX_HOSTS):
            asked = names[start : start + MAX_HOSTS]
            rules = self._settings.rules
            found = await self._ask(asked, asker, rules)
            answers |= found
            for answer in found.values():
                can_be_used = bool(usable_addresses(answer, rules))
                usable += can_be_used
                unanswered += not can_be_used and answer.trouble is DnsFailure.TEMPORARY
            if usable >= MAX_HOSTS or unanswered >= _MOST_UNANSWERED:
                break
        if unanswered >= _MOST_UNANSWERED or (unanswered and not usable):
            self._silence.remember(asker.name, time.monotonic())
        else:
            self._silence.forget(asker.name)
        return answers

    async def _ask(
        self, names: Sequence[str], asker: Asker, rules: AddressRules
    ) -> dict[str, AddressAnswer]:
        """Look up hosts; do not wait long for others once one is usable."""
        tasks = {
            name: asyncio.ensure_future(self._resolver.addresses(name, asker)) for name in names
        }
        began = time.monotonic()
        try:
            while open_ones := [name for name, task in tasks.items() if not task.done()]:
                answers = [task.result() for task in tasks.values() if task.done()]
                timeout = None
                if any(usable_addresses(each, rules) for each in answers):
                    slow = all(self._resolver.has_slow_addresses(name) for name in open_ones)
                    timeout = 0.0 if slow else began + _GRACE - time.monotonic()
                    if timeout <= 0.0:
                        break
                await asyncio.wait(
                    [tasks[name] for name in open_ones],
                    timeout=timeout,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            return {
                name: task.result() if task.done() else _NOT_IN_TIME for name, task in tasks.items()
            }
        finally:
            for task in tasks.values():
                task.cancel()


def _literal(smarthost: Smarthost) -> str | None:
    """Return the address of a smarthost that is given as an address, else None."""
    text = smarthost.host.strip("[]")
    try:
        return str(literal_address(f"[{'IPv6:' if ':' in text else ''}{text}]"))
    except ValueError:
        return None
