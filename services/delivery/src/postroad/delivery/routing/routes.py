"""
Makes routes, which are hosts in order, from an egress path and answers of the DNS. No I/O.

MX hosts follow RFC 5321 §5: in order of preference, equal ones shuffled. Without an MX record the
domain itself is the host (implicit MX). A null MX means no host (RFC 7505). An address literal is
its own host. Hosts without public addresses are refused unless allowed: a domain's owner must not
be able to make this relay connect to hosts behind its firewall.

A permanent lack of a route needs all that the DNS says about the domain. While any of it is
unknown, the lack is temporary.
"""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from postroad.delivery.routing.addresses import AddressRules, usable_addresses
from postroad.dns.answers import UNKNOWN, AddressAnswer, DnsFailure, MxAnswer
from postroad.mail.address import literal_address
from postroad.mail.status import EnhancedStatus
from postroad.policy.model import Smarthost

MAX_HOSTS = 10  # hosts with addresses in a route; more would not help
_SITE_LENGTH = 120


@dataclass(frozen=True, slots=True)
class MailHost:
    """A next hop and the addresses to try, in order."""

    name: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """
    The hosts to try, and the site, to which the limits apply.

    `is_partial` says that there may be other hosts, which cannot be found for now.
    """

    site: str
    hosts: tuple[MailHost, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class NoRoute:
    """
    Why there is no route: permanent if the DNS says so, else temporary.

    `asked` says that the DNS was asked. If not, it is unavailable, and this was no attempt.
    """

    status: EnhancedStatus
    reason: str
    asked: bool = True

    @property
    def is_permanent(self) -> bool:
        """Whether a later try will not find a route either."""
        return self.status.klass == 5


_NULL_MX = NoRoute(EnhancedStatus(5, 1, 10), "the domain accepts no mail (null MX)")
_NO_DOMAIN = NoRoute(EnhancedStatus(5, 1, 2), "the domain does not exist")
_NO_HOST = NoRoute(EnhancedStatus(5, 1, 2), "the domain has neither MX nor address records")
LOOPS_BACK = NoRoute(EnhancedStatus(5, 4, 6), "the domain's best MX host is this relay")
_PRIVATE = NoRoute(
    EnhancedStatus(5, 4, 4), "the domain's MX hosts are on addresses that mail is not sent to"
)
_TOO_MANY = NoRoute(
    EnhancedStatus(4, 4, 4), "the domain has too many MX hosts, and the first ones cannot be used"
)


def order_smarthosts(hosts: Sequence[Smarthost], dice: random.Random) -> list[Smarthost]:
    """Return smarthosts in the order to try them: by priority, weighted among equals (RFC 2782)."""
    # A weighted shuffle: a larger weight makes a larger key likely, never certain.
    keyed = [(host.priority, -(dice.random() ** (1 / max(host.weight, 1))), host) for host in hosts]
    return [host for _, _, host in sorted(keyed, key=lambda item: item[:2])]


def unknown(answer: MxAnswer | AddressAnswer) -> NoRoute:
    """Return a temporary lack of a route, after a failure of the DNS."""
    asked = answer.trouble is not DnsFailure.UNASKED
    return NoRoute(EnhancedStatus(4, 4, 3), answer.detail, asked)


def order_mx(
    domain: str, answer: MxAnswer, own_names: frozenset[str], dice: random.Random
) -> Sequence[str] | NoRoute:
    """Return the MX hosts of a domain in the order to try them."""
    if answer.trouble in UNKNOWN:
        return unknown(answer)
    if answer.trouble is DnsFailure.NO_SUCH_NAME:
        return _NO_DOMAIN
    if answer.trouble is DnsFailure.NO_DATA or not answer.records:
        return [domain] if domain not in own_names else LOOPS_BACK
    if any(host == "." for _, host in answer.records):
        return _NULL_MX
    best_of_ours = min((p for p, host in answer.records if host in own_names), default=None)
    records = [
        (preference, dice.random(), host)
        for preference, host in answer.records
        if best_of_ours is None or preference < best_of_ours
    ]
    # RFC 5321 §5.1: hosts that are not preferred over us would send the mail back to us.
    return list(dict.fromkeys(host for _, _, host in sorted(records))) or LOOPS_BACK


def roll_up(hosts: Sequence[str]) -> str:
    """
    Return a short stable name for a set of hosts, regardless of their order.

    The common end of the names is written once: `(mx1|mx2).example.com`.
    """
    names = sorted(set(hosts))
    if len(names) <= 1:
        return _bounded("".join(names))
    split = [name.split(".") for name in names]
    common: list[str] = []
    while all(len(labels) > len(common) + 1 for labels in split):
        label = split[0][-1 - len(common)]
        if any(labels[-1 - len(common)] != label for labels in split):
            break
        common.insert(0, label)
    heads = [".".join(labels[: len(labels) - len(common)]) for labels in split]
    tail = "." + ".".join(common) if common else ""
    return _bounded(f"({'|'.join(heads)}){tail}")


def _bounded(site: str) -> str:
    """Return a name of limited length that is still unique."""
    if len(site) <= _SITE_LENGTH:
        return site
    digest = hashlib.sha256(site.encode()).hexdigest()[:12]
    return f"{site[: _SITE_LENGTH - 13]}~{digest}"


def distinct(hosts: Iterable[MailHost]) -> tuple[MailHost, ...]:
    """Return hosts with each address only once; hosts without other addresses are left out."""
    seen: set[tuple[str, int]] = set()
    found = []
    for host in hosts:
        fresh = tuple(a for a in host.addresses if (a, host.port) not in seen)
        seen.update((address, host.port) for address in fresh)
        if fresh:
            found.append(host if fresh == host.addresses else replace(host, addresses=fresh))
    return tuple(found)


def mx_route(
    names: Sequence[str],
    answers: Mapping[str, AddressAnswer],
    *,
    port: int,
    rules: AddressRules,
    implicit: bool = False,
) -> Route | NoRoute:
    """
    Return the route over MX hosts, from the answers for those that were looked up.

    `implicit` says that there are no MX records and the domain itself is the host (RFC 5321 §5.1).
    """
    found = [
        MailHost(name, port, usable_addresses(answers[name], rules))
        for name in names
        if name in answers
    ]
    hosts = distinct(found)[:MAX_HOSTS]
    if hosts:
        unfound = any(not (host.addresses or answers[host.name].is_complete) for host in found)
        return Route(roll_up(names), hosts, is_partial=unfound or len(found) < len(names))
    return _no_host(names, answers, implicit=implicit)


def _no_host(
    names: Sequence[str], answers: Mapping[str, AddressAnswer], *, implicit: bool
) -> NoRoute:
    for answer in answers.values():
        if not answer.is_complete:
            return unknown(answer)
    if any(name not in answers for name in names):
        return _TOO_MANY
    if any(answer.addresses for answer in answers.values()):
        return _PRIVATE
    if implicit:
        return _NO_HOST
    return NoRoute(EnhancedStatus(4, 4, 4), "none of the domain's MX hosts has an address")


def literal_route(domain: str, *, port: int, rules: AddressRules) -> Route | NoRoute | None:
    """Return the route to an address literal (RFC 5321 §4.1.3), None for a name."""
    address = literal_address(domain)
    if address is None:
        return None
    if not rules.admit(str(address)):
        return _PRIVATE
    return Route(domain, (MailHost(domain, port, (str(address),)),))
