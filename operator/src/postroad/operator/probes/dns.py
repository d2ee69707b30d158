"""
Looks up the DNS records of Domains, each claim about every 15 minutes.

A new claim is looked up within seconds, also if another namespace has a Domain of the same name:
its owner may have published the proof just now. The others are spread over the 15 minutes, so that
2,000 domains cause about two look-ups a second and never a burst. There is no cache, because each
answer should be current.

Whoever owns a zone decides how long its answers take. So a look-up ends after a few seconds, and
those of one namespace are under way only so many at a time: others have their turns meanwhile.
"""

import asyncio
import io
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta

import dns.asyncresolver
import dns.exception
import dns.inet
import dns.resolver

from postroad.dns.client import own_lack
from postroad.manifests.compiler.claims import ClaimKey, proof_name
from postroad.operator.probes.schedule import PeriodicQueue
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.units.addresses import SocketAddress

EVERY = timedelta(minutes=15)
_AT_ONCE = 16
_OF_ONE_NAMESPACE = 4
_PAUSE = 0.2  # seconds
_TELL_EVERY = 2.0  # seconds
_LIFETIME = 8.0  # seconds for one record, all tries included, and for the DMARC records together
_LABELS_ABOVE = 7  # of the first name above a long one at which DMARC records are looked for


class DnsProbe:
    """The DNS records of each claimed domain that was looked up in this run of the operator."""

    def __init__(
        self,
        claims: Callable[[], Collection[ClaimKey]],
        changed: Callable[[], None],
        server: SocketAddress | ResolvConf,
    ) -> None:
        self.facts: dict[str, DnsFacts] = {}
        self._claims = claims
        self._changed = changed
        self._server = server
        self._round: PeriodicQueue[ClaimKey] = PeriodicQueue(EVERY, random.random)
        self._under_way: Counter[str] = Counter()  # look-ups, by namespace
        self._news = False

    async def run(self) -> None:
        """Look up the domains that are due, until cancelled."""
        told = float("-inf")
        async with asyncio.TaskGroup() as group:
            while True:
                now = asyncio.get_running_loop().time()
                for claim in self._due(now):
                    group.create_task(self._look_up_for(claim))
                if self._news and now - told > _TELL_EVERY:
                    self._news, told = False, now
                    self._changed()
                known = {claim.name for claim in self._round.known}
                for gone in [domain for domain in self.facts if domain not in known]:
                    del self.facts[gone]
                await asyncio.sleep(_PAUSE if self._under_way.total() else 5 * _PAUSE)

    def _due(self, now: float) -> Sequence[ClaimKey]:
        """Return the claims to look up now, which count as under way from here on."""
        free = _AT_ONCE - self._under_way.total()
        return self._round.due(self._claims(), now, most=free, admits=self._takes_turn)

    def _takes_turn(self, claim: ClaimKey) -> bool:
        """Whether its namespace has another turn; that is taken."""
        if self._under_way[claim.namespace] >= _OF_ONE_NAMESPACE:
            return False
        self._under_way[claim.namespace] += 1
        return True

    async def _look_up_for(self, claim: ClaimKey) -> None:
        try:
            found = await self.look_up(claim.name)
        finally:
            self._under_way[claim.namespace] -= 1
        # Most look-ups find the same records as before, and then no status changes.
        self._news |= self.facts.get(claim.name) != found
        self.facts[claim.name] = found

    async def look_up(self, domain: str) -> DnsFacts:
        """Look up one domain's records."""
        mx, txt, dmarc, proof = await asyncio.gather(
            self._ask(domain, "MX"),
            self._ask(domain, "TXT"),
            self._dmarc(domain),
            self._ask(proof_name(domain), "TXT"),
        )
        return DnsFacts(mx, txt, dmarc, proof)

    async def _dmarc(self, domain: str) -> DnsAnswer:
        """Return the DMARC texts of a domain, or of the nearest one above it (RFC 9989 §4.10)."""
        try:
            async with asyncio.timeout(_LIFETIME):
                for name in dmarc_names(domain):
                    answer = await self._ask(name, "TXT")
                    if answer.trouble or any(map(_is_dmarc, answer.values)):
                        return answer
        except TimeoutError:
            return DnsAnswer(trouble=f"no answer about _dmarc.{domain}")
        return DnsAnswer()

    async def _ask(self, name: str, kind: str) -> DnsAnswer:
        try:
            found = await _resolver(self._server).resolve(name + ".", kind, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return DnsAnswer()
        except dns.resolver.LifetimeTimeout:
            return DnsAnswer(trouble=f"no answer about {name}")
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return DnsAnswer(trouble=f"{type(error).__name__} about {name}")
        if kind == "MX":
            hosts = (each.exchange.to_text(omit_final_dot=True).lower() for each in found)
            return DnsAnswer(tuple(sorted(hosts)))
        texts = (b"".join(each.strings).decode("utf-8", "replace") for each in found)
        return DnsAnswer(tuple(sorted(texts)))


def dmarc_names(domain: str) -> Sequence[str]:
    """Return the names at which a DMARC record may be, in order: seven at most (RFC 9989 §4.10)."""
    labels = domain.split(".")
    above = range(max(1, len(labels) - _LABELS_ABOVE), len(labels) - 1)
    return ["_dmarc." + ".".join(labels[first:]) for first in (0, *above)]


def _is_dmarc(text: str) -> bool:
    return text.lower().startswith("v=dmarc1")


def addresses_by(server: SocketAddress) -> Callable[[str], Awaitable[str]]:
    """Return a function that asks one server for a host's address; it raises OSError for none."""
    resolver = _resolver(server)

    async def look_up(host: str) -> str:
        if host == "localhost" or dns.inet.is_address(host):
            return host
        try:
            found = await resolver.resolve_name(host, search=False)
        except dns.exception.DNSException as error:
            lack = own_lack(error)
            raise lack or OSError(f"{type(error).__name__} about {host}") from error
        return next(found.addresses())

    return look_up


def _resolver(server: SocketAddress | ResolvConf) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.port = server.port
    if isinstance(server, ResolvConf):
        resolver.read_resolv_conf(io.StringIO(server.lines(time.monotonic())))
    else:
        resolver.nameservers = [server.host]
    resolver.lifetime = _LIFETIME
    return resolver
