"""
Looks up the DNS records of Domains: one background task, each claim about every 15 minutes.

A new claim is looked up within seconds, also if another namespace has a Domain of the same name:
its owner may have published the proof just now. The others are spread over the 15 minutes, so that
2,000 domains cause about two look-ups a second and never a burst. There is no cache, because each
answer should be current.
"""

import asyncio
import io
import random
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import dns.asyncresolver
import dns.exception
import dns.inet
import dns.resolver

from postroad.manifests.compiler.claims import ClaimKey, proof_name
from postroad.operator.probes.schedule import PeriodicQueue
from postroad.operator.status.dns_facts import DnsAnswer, DnsFacts
from postroad.process.machine.resolv_conf import ResolvConf
from postroad.units.addresses import SocketAddress

EVERY = timedelta(minutes=15)
_AT_ONCE = 8
_TELL_EVERY = 2.0  # seconds
_LIFETIME = 8.0  # seconds for one look-up, all tries included


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

    async def run(self) -> None:
        """Look up the domains that are due, until cancelled."""
        loop = asyncio.get_running_loop()
        news, told = False, float("-inf")
        while True:
            claims = self._round.due(self._claims(), loop.time(), most=_AT_ONCE)
            due = {claim.name for claim in claims}
            if due:
                found = await asyncio.gather(*(self.look_up(domain) for domain in due))
                looked_up = dict(zip(due, found, strict=True))
                # Most look-ups find the same records as before, and then no status changes.
                news |= any(self.facts.get(domain) != facts for domain, facts in looked_up.items())
                self.facts.update(looked_up)
            if news and loop.time() - told > _TELL_EVERY:
                news, told = False, loop.time()
                self._changed()
            known = {claim.name for claim in self._round.known}
            for gone in [domain for domain in self.facts if domain not in known]:
                del self.facts[gone]
            await asyncio.sleep(0.2 if due else 1.0)

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
        labels = domain.split(".")
        for first in range(max(1, len(labels) - 1)):
            answer = await self._ask("_dmarc." + ".".join(labels[first:]), "TXT")
            if answer.trouble or any(text.lower().startswith("v=dmarc1") for text in answer.values):
                return answer
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


def addresses_by(server: SocketAddress) -> Callable[[str], Awaitable[str]]:
    """Return a function that asks one server for a host's address; it raises OSError for none."""
    resolver = _resolver(server)

    async def look_up(host: str) -> str:
        if host == "localhost" or dns.inet.is_address(host):
            return host
        try:
            found = await resolver.resolve_name(host, search=False)
        except dns.exception.DNSException as error:
            raise OSError(f"{type(error).__name__} about {host}") from error
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
