"""
Looking names up: dnspython's only home, with a cache that respects each answer's time to live.

Negative answers are cached as RFC 2308 says, trouble for some seconds only. Look-ups of one name at
the same time are one question. The cache is bounded: what was used longest ago goes first.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from postroad.delivery.answers import AddressAnswer, MxAnswer, Trouble

_CACHED = 50_000
_LONGEST = 3600.0  # seconds an answer is kept, whatever its time to live says
_NEGATIVE = 60.0  # seconds, when a negative answer brings no SOA
_TROUBLE = 5.0
_LOOPBACK = ("::1", "127.0.0.1")
_LIFETIME = 10.0  # seconds for one look-up, all tries included


@dataclass(frozen=True, slots=True)
class _Found:
    rdata: tuple[Any, ...]
    trouble: Trouble | None
    detail: str
    until: float


class Resolver:
    """Asks the system's DNS servers, or the one that is named."""

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        if server is not None:
            self._resolver.nameservers = [server[0]]
            self._resolver.port = server[1]
        self._resolver.lifetime = _LIFETIME
        self._cache: OrderedDict[tuple[str, str], _Found] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[_Found]] = {}

    async def mx(self, domain: str) -> MxAnswer:
        """Return a domain's MX records."""
        found = await self._look_up(domain, "MX")
        records = tuple((int(r.preference), _host(r.exchange)) for r in found.rdata)
        return MxAnswer(records, found.trouble, found.detail)

    async def addresses(self, host: str) -> AddressAnswer:
        """Return a host's IPv6 and IPv4 addresses; `localhost` is this machine (RFC 6761 §6.3)."""
        if host == "localhost" or host.endswith(".localhost"):
            return AddressAnswer(_LOOPBACK)
        six, four = await asyncio.gather(self._look_up(host, "AAAA"), self._look_up(host, "A"))
        addresses = tuple(str(r.address) for r in (*six.rdata, *four.rdata))
        if addresses:
            return AddressAnswer(addresses)
        # Temporary trouble with either family leaves the question open.
        for trouble in (Trouble.TEMPORARY, Trouble.NO_DATA, Trouble.NO_SUCH_NAME):
            for found in (six, four):
                if found.trouble is trouble:
                    return AddressAnswer((), trouble, found.detail)
        return AddressAnswer((), Trouble.NO_DATA, "no addresses")

    async def _look_up(self, name: str, kind: str) -> _Found:
        key = (name, kind)
        found = self._cache.get(key)
        if found is not None and found.until > time.monotonic():
            self._cache.move_to_end(key)
            return found
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.create_task(self._ask(name, kind))
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        # Whoever waits may give up; the question goes on for the others.
        return await asyncio.shield(asking)

    async def _ask(self, name: str, kind: str) -> _Found:
        found = await self._question(name, kind)
        self._cache[name, kind] = found
        self._cache.move_to_end((name, kind))
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return found

    async def _question(self, name: str, kind: str) -> _Found:
        now = time.monotonic()
        try:
            answer = await self._resolver.resolve(name + ".", kind, search=False)
        except dns.resolver.NXDOMAIN as error:
            return _Found((), Trouble.NO_SUCH_NAME, "no such domain", now + _negative(error))
        except dns.resolver.NoAnswer as error:
            until = now + _negative_response(error.kwargs.get("response"))
            return _Found((), Trouble.NO_DATA, f"no {kind} record", until)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            return _Found((), Trouble.TEMPORARY, _sentence(error), now + _TROUBLE)
        ttl = min(float(answer.rrset.ttl if answer.rrset is not None else 0), _LONGEST)
        return _Found(tuple(answer), None, "", now + ttl)


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _negative(error: dns.resolver.NXDOMAIN) -> float:
    responses = list(error.kwargs.get("responses", {}).values())
    return _negative_response(responses[0] if responses else None)


def _negative_response(response: Any) -> float:
    """Return how long a negative answer holds: the SOA's minimum or TTL (RFC 2308 §5)."""
    for rrset in getattr(response, "authority", ()):
        if rrset.rdtype == dns.rdatatype.SOA:
            return float(min(rrset.ttl, rrset[0].minimum, _LONGEST))
    return _NEGATIVE


def _sentence(error: Exception) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "the DNS does not answer"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the DNS servers have no answer"
    return f"the DNS cannot be asked: {type(error).__name__}"
