"""
Looking names up: dnspython's only home, with a cache that respects each answer's time to live.

An answer lives as long as the shortest TTL of its chain of aliases, a negative one as RFC 2308
says, trouble for some seconds only. Look-ups of one name at the same time are one question; no more
than a hundred are asked at a time, and few while the DNS is away. The cache is bounded: what was
used longest ago goes first.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from postroad.delivery.answers import AddressAnswer, MxAnswer, Trouble
from postroad.delivery.breaker import Breaker

_CACHED = 50_000
_LONGEST = 3600.0  # seconds an answer is kept, whatever its time to live says
_NEGATIVE = 60.0  # seconds, when a negative answer brings no SOA
_TROUBLE = 5.0
_LOOPBACK = ("::1", "127.0.0.1")
_ONE_SIDED = 300.0  # seconds, for trouble with one family where the other is there
_GRACE = 1.0  # seconds that are waited for one family when the other is there
_LIFETIME = 10.0  # seconds for one look-up, all tries included
_AT_ONCE = 100  # questions


@dataclass(frozen=True, slots=True)
class _Found:
    rdata: tuple[Any, ...]
    trouble: Trouble | None
    detail: str
    until: float


_FAMILIES = ("AAAA", "A")
_NOTHING_YET = _Found((), Trouble.TEMPORARY, "the DNS does not answer", 0.0)


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
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._breaker = Breaker()
        self._one_sided: OrderedDict[tuple[str, str], float] = OrderedDict()  # until when

    async def mx(self, domain: str) -> MxAnswer:
        """Return a domain's MX records."""
        found = await self._look_up(domain, "MX")
        records = tuple((int(r.preference), _host(r.exchange)) for r in found.rdata)
        return MxAnswer(records, found.trouble, found.detail)

    async def addresses(self, host: str) -> AddressAnswer:
        """Return a host's IPv6 and IPv4 addresses; `localhost` is this machine (RFC 6761 §6.3)."""
        if _is_local(host):
            return AddressAnswer(_LOOPBACK)
        six, four = await self._both(host)
        addresses = tuple(str(r.address) for r in (*six.rdata, *four.rdata))
        if addresses:
            return AddressAnswer(addresses)
        # Temporary trouble with either family leaves the question open.
        for trouble in (Trouble.TEMPORARY, Trouble.UNASKED, Trouble.NO_DATA, Trouble.NO_SUCH_NAME):
            for found in (six, four):
                if found.trouble is trouble:
                    return AddressAnswer((), trouble, found.detail)
        return AddressAnswer((), Trouble.NO_DATA, "no addresses")

    def knows_hosts(self, domain: str) -> bool:
        """Whether a domain's MX hosts and their addresses are known without a question."""
        found = self._known(domain, "MX")
        if found is None:
            return False
        hosts = [_host(r.exchange) for r in found.rdata] or [domain]
        return all(self.knows_addresses(host) for host in hosts)

    def knows_addresses(self, host: str) -> bool:
        """Whether a host's addresses are known without a question."""
        return _is_local(host) or all(self._known(host, kind) for kind in _FAMILIES)

    async def _both(self, host: str) -> list[_Found]:
        """Look both families up; go on with one where the other has nothing to say in time."""
        known = [self._known(host, kind) for kind in _FAMILIES]
        if all(known):
            return [found for found in known if found]
        tasks = [asyncio.ensure_future(self._look_up(host, kind)) for kind in _FAMILIES]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if any(task.done() and task.result().rdata for task in tasks):
            late = next((k for k, t in zip(_FAMILIES, tasks, strict=True) if not t.done()), None)
            if late is not None:
                await self._wait_for_the_other(tasks, host, late)
        else:
            await asyncio.wait(tasks)
        return [task.result() if task.done() else _NOTHING_YET for task in tasks]

    async def _wait_for_the_other(
        self, tasks: Sequence["asyncio.Task[_Found]"], host: str, late: str
    ) -> None:
        now = time.monotonic()
        if self._one_sided.get((host, late), 0.0) > now:
            return
        _, pending = await asyncio.wait(tasks, timeout=_GRACE)
        if pending:
            self._one_sided[host, late] = now + _ONE_SIDED
            while len(self._one_sided) > _CACHED:
                self._one_sided.popitem(last=False)

    def _known(self, name: str, kind: str) -> _Found | None:
        found = self._cache.get((name, kind))
        if found is None or found.until <= time.monotonic():
            return None
        self._cache.move_to_end((name, kind))
        return found

    async def _look_up(self, name: str, kind: str) -> _Found:
        found = self._known(name, kind)
        if found is not None:
            return found
        key = (name, kind)
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
        """Ask, when it is its turn, unless it is known that nobody answers."""
        breaker = self._breaker
        async with self._turns:
            if not breaker.admits(time.monotonic()):
                return _Found((), Trouble.UNASKED, "the DNS does not answer", 0.0)
            breaker.asking += 1
            try:
                return await self._asked(name, kind)
            finally:
                breaker.asking -= 1

    async def _asked(self, name: str, kind: str) -> _Found:
        try:
            answer = await self._resolver.resolve(name + ".", kind, search=False)
        except dns.resolver.NXDOMAIN as error:
            return self._answered((), Trouble.NO_SUCH_NAME, "no such domain", _negative(error))
        except dns.resolver.NoAnswer as error:
            ttl = _negative_response(error.kwargs.get("response"))
            return self._answered((), Trouble.NO_DATA, f"no {kind} record", ttl)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            if _was_answered(error):
                return self._answered((), Trouble.TEMPORARY, _sentence(error), _TROUBLE)
            self._breaker.is_silent()
            now = time.monotonic()
            return _Found((), Trouble.TEMPORARY, _sentence(error), now + _TROUBLE)
        # The chain's, which is the shortest of its links' (RFC 1035 §3.2.1: each has its own).
        ttl = min(float(answer.chaining_result.minimum_ttl), _LONGEST)
        return self._answered(tuple(answer), None, "", ttl)

    def _answered(
        self, rdata: tuple[Any, ...], trouble: Trouble | None, detail: str, ttl: float
    ) -> _Found:
        now = time.monotonic()
        self._breaker.answers(now)
        return _Found(rdata, trouble, detail, now + ttl)


def _is_local(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _negative(error: dns.resolver.NXDOMAIN) -> float:
    responses = list(error.kwargs.get("responses", {}).values())
    return _negative_response(responses[0] if responses else None)


def _negative_response(response: Any) -> float:
    """Return how long a negative answer holds: the SOA's minimum or TTL (RFC 2308 §5), or less."""
    aliases = [float(rrset.ttl) for rrset in getattr(response, "answer", ())]
    for rrset in getattr(response, "authority", ()):
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(float(rrset.ttl), float(rrset[0].minimum), _LONGEST, *aliases)
    return min([_NEGATIVE, *aliases])


def _was_answered(error: Exception) -> bool:
    """Whether any server said something, be it SERVFAIL: then the DNS is not away."""
    if not isinstance(error, dns.resolver.NoNameservers | dns.resolver.LifetimeTimeout):
        return isinstance(error, dns.exception.DNSException)
    return any(tried[-1] is not None for tried in error.kwargs.get("errors", ()))


def _sentence(error: Exception) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "the DNS does not answer"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the DNS servers have no answer"
    return f"the DNS cannot be asked: {type(error).__name__}"
