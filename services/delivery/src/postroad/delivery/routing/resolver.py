"""
Looking names up: dnspython's only home, with a cache that respects each answer's time to live.

An answer lives as long as the shortest TTL of its chain of aliases, a negative one as RFC 2308
says, trouble for some seconds only. Look-ups of one name at the same time are one question; no more
than a hundred are asked at a time, and few while the name server is away. The cache is bounded:
what was used longest ago goes first.

A question that is not answered soon gives its turn to the next (`delivery.routing.questions.lines`
says whose that is), so that silent names keep nobody waiting for long. It goes on at one of the few
turns for slow names if one is free. What was not answered is remembered for a while: it has those
turns alone, as have the hosts of a slow domain, and is not waited for where other answers will do.
"""

import asyncio
import ipaddress
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

from postroad.delivery.routing.answers import AddressAnswer, DnsFailure, MxAnswer
from postroad.delivery.routing.breaker import Breaker
from postroad.delivery.routing.questions.lines import Asker
from postroad.delivery.routing.questions.silence import Silence
from postroad.delivery.routing.questions.turns import DnsTurns
from postroad.mail.ip_address import unmapped

_CACHED = 50_000
_LONGEST = 3600.0  # seconds an answer is kept, whatever its time to live says
_NEGATIVE = 60.0  # seconds, when a negative answer brings no SOA
_TROUBLE = 5.0
_LOOPBACK = ("::1", "127.0.0.1")
_GRACE = 1.0  # seconds that are waited for one family when the other is there
_TRY = 1.0  # seconds until a question is repeated, or put to the next of several name servers
_PATIENCE = 3.0  # seconds, all tries included, that a question keeps its turn
_LIFETIME = 10.0  # seconds at a turn for slow names
_PATIENT_TRY = (
    4.0  # seconds until a question is repeated there: a server may take longer than a try
)
_AT_ONCE = 100  # questions
_SLOW_AT_ONCE = 25  # questions besides, whose names were not answered of late
_Key = tuple[str, str, bool]  # name, kind of record, whether a slow domain's mail asks
_PROBE = ("", "NS")  # the servers of the root, which every name server knows or says why not


@dataclass(frozen=True, slots=True)
class _Found:
    rdata: tuple[Any, ...]
    trouble: DnsFailure | None
    detail: str
    until: float


@dataclass(frozen=True, slots=True)
class _Asking:
    since: float
    askers: list[Asker]
    answer: "asyncio.Task[_Found]"


_FAMILIES = ("AAAA", "A")
_GRAVEST = (
    DnsFailure.TEMPORARY,
    DnsFailure.UNASKED,
    DnsFailure.NO_DATA,
    DnsFailure.NO_SUCH_NAME,
    None,
)
_NOTHING_YET = _Found((), DnsFailure.TEMPORARY, "the DNS does not answer", 0.0)
_UNASKED = _Found((), DnsFailure.UNASKED, "the DNS does not answer", 0.0)


class Resolver:
    """Asks the system's DNS servers, or the one that is named."""

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        self._resolver = _resolver(server, _TRY)
        self._patient = _resolver(server, _PATIENT_TRY)
        self._cache: OrderedDict[tuple[str, str], _Found] = OrderedDict()
        self._asking: dict[_Key, _Asking] = {}
        self._turns = DnsTurns(_AT_ONCE)
        self._slow_turns = DnsTurns(_SLOW_AT_ONCE)
        self._breaker = Breaker()
        self._probing = asyncio.Lock()
        self._silence = Silence()  # of names and kinds of records

    async def mx(self, domain: str, asker: Asker | None = None) -> MxAnswer:
        """Return a domain's MX records."""
        found = await self._look_up(domain, "MX", asker or Asker(domain))
        records = tuple((int(r.preference), _host(r.exchange)) for r in found.rdata)
        return MxAnswer(records, found.trouble, found.detail)

    async def addresses(self, host: str, asker: Asker | None = None) -> AddressAnswer:
        """Return a host's IPv6 and IPv4 addresses; `localhost` is this machine (RFC 6761 §6.3)."""
        if _is_local(host):
            return AddressAnswer(_LOOPBACK)
        six, four = await self._both(host, asker or Asker(host))
        addresses = (*(_six(r.address) for r in six.rdata), *(str(r.address) for r in four.rdata))
        if addresses:
            return AddressAnswer(addresses)
        # Temporary trouble with either family leaves the question open.
        why = min((six, four), key=lambda found: _GRAVEST.index(found.trouble))
        return AddressAnswer((), why.trouble, why.detail)

    def knows_hosts(self, domain: str) -> bool:
        """Whether a domain's MX hosts and their addresses are known without a question."""
        hosts = self._known_hosts(domain)
        return bool(hosts) and all(self.knows_addresses(host) for host in hosts)

    def is_slow(self, domain: str) -> bool:
        """Whether a domain's MX records, or all of its MX hosts, were not answered for of late."""
        if self._is_silent(domain, "MX"):
            return True
        hosts = self._known_hosts(domain)
        return bool(hosts) and all(self.has_slow_addresses(host) for host in hosts)

    def _known_hosts(self, domain: str) -> list[str]:
        found = self._known(domain, "MX")
        return [] if found is None else [_host(r.exchange) for r in found.rdata] or [domain]

    def has_slow_addresses(self, host: str) -> bool:
        """Whether a host's addresses were not answered for of late."""
        known = (self._known(host, kind) for kind in _FAMILIES)
        return any(self._is_silent(host, kind) for kind in _FAMILIES) and not any(
            found is not None and found.rdata for found in known
        )

    def knows_addresses(self, host: str) -> bool:
        """Whether a host's addresses are known without a question."""
        return _is_local(host) or all(self._known(host, kind) for kind in _FAMILIES)

    async def _both(self, host: str, asker: Asker) -> list[_Found]:
        """Look both families up; go on with one where the other has nothing to say in time."""
        known = [self._known(host, kind) for kind in _FAMILIES]
        if all(known):
            return [found for found in known if found]
        tasks = [asyncio.ensure_future(self._look_up(host, kind, asker)) for kind in _FAMILIES]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if any(task.done() and task.result().rdata for task in tasks):
            late = next((k for k, t in zip(_FAMILIES, tasks, strict=True) if not t.done()), None)
            if late is not None:
                await self._wait_for_the_other(tasks, (host, late, asker.slow))
        else:
            await asyncio.wait(tasks)
        return [task.result() if task.done() else _NOTHING_YET for task in tasks]

    async def _wait_for_the_other(
        self, tasks: Sequence["asyncio.Task[_Found]"], late: _Key
    ) -> None:
        if self._is_silent(*late[:2]):
            return
        asking = self._asking.get(late)  # None: the answer has just come
        passed = time.monotonic() - asking.since if asking is not None else 0.0
        if passed < _GRACE:
            await asyncio.wait(tasks, timeout=_GRACE - passed)

    def _is_silent(self, name: str, kind: str) -> bool:
        return self._silence.has((name, kind), time.monotonic())

    def _known(self, name: str, kind: str) -> _Found | None:
        found = self._cache.get((name, kind))
        if found is None or found.until <= time.monotonic():
            return None
        self._cache.move_to_end((name, kind))
        return found

    async def _look_up(self, name: str, kind: str, asker: Asker) -> _Found:
        found = self._known(name, kind)
        if found is not None:
            return found
        key = (name, kind, asker.slow)
        asking = self._asking.get(key)
        if asking is None:
            askers = [asker]
            answer = asyncio.create_task(self._ask(key, askers))
            asking = self._asking[key] = _Asking(time.monotonic(), askers, answer)
            asking.answer.add_done_callback(lambda _: self._asking.pop(key, None))
        else:
            asking.askers.append(asker)
            self._turns.join(key, asker)
            self._slow_turns.join(key, asker)
        # Whoever waits may give up; the question goes on for the others.
        return await asyncio.shield(asking.answer)

    async def _ask(self, key: _Key, askers: Sequence[Asker]) -> _Found:
        found = await self._question(key, askers)
        self._cache[key[:2]] = found
        self._cache.move_to_end(key[:2])
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return found

    async def _question(self, key: _Key, askers: Sequence[Asker]) -> _Found:
        """Ask, when it is its turn, unless it is known that nobody answers."""
        name, kind, slow = key
        found = None
        if not slow and not self._is_silent(name, kind):
            async with self._turns.turn(key, askers) as came:
                found = await self._asked(name, kind, slow=False) if came else None
            if not self._is_silent(name, kind) or not self._slow_turns.has_turn(askers[0]):
                return found or _UNASKED
        async with self._slow_turns.turn(key, askers) as came:
            slowly = await self._asked(name, kind, slow=True) if came else None
        return slowly or found or _UNASKED

    async def _asked(self, name: str, kind: str, *, slow: bool) -> _Found | None:
        """Ask, and remember whether there was an answer; None when the name server is away."""
        if not await self._is_worth_asking(slow=slow):
            return None
        self._breaker.asking += 1
        try:
            found, answered = await self._tried(
                name, kind, slow=slow, lifetime=_LIFETIME if slow else _PATIENCE
            )
        finally:
            self._breaker.asking -= 1
        if answered:
            self._breaker.answers(time.monotonic())
            self._silence.forget((name, kind))
        else:
            self._breaker.is_silent(slow=slow)
            self._silence.remember((name, kind), time.monotonic())
        return found

    async def _is_worth_asking(self, *, slow: bool) -> bool:
        if self._breaker.is_in_doubt(time.monotonic()):
            async with self._probing:  # by the first who comes; the others hear of it
                if self._breaker.is_in_doubt(time.monotonic()):
                    await self._probe()
        return self._breaker.admits(slow=slow)

    async def _probe(self) -> None:
        """Ask what a name server answers if it is there."""
        began = time.monotonic()
        # In short tries several servers have their turn; one that takes long needs a longer one.
        patient = asyncio.create_task(self._tried(*_PROBE, slow=True, lifetime=_PATIENT_TRY))
        _, answered = await self._tried(*_PROBE, slow=False, lifetime=_PATIENCE)
        if answered or (await patient)[1]:
            patient.cancel()
            self._breaker.answers(time.monotonic())
        else:
            self._breaker.is_away(time.monotonic(), began=began)

    async def _tried(
        self, name: str, kind: str, *, slow: bool, lifetime: float
    ) -> tuple[_Found, bool]:
        """Return what was found, and whether that is an answer, be it SERVFAIL."""
        resolver = self._patient if slow else self._resolver
        try:
            answer = await resolver.resolve(name + ".", kind, search=False, lifetime=lifetime)
        except dns.resolver.NXDOMAIN as error:
            return _found((), DnsFailure.NO_SUCH_NAME, "no such domain", _negative(error)), True
        except dns.resolver.NoAnswer as error:
            ttl = _negative_response(error.kwargs.get("response"))
            return _found((), DnsFailure.NO_DATA, f"no {kind} record", ttl), True
        except (dns.exception.DNSException, OSError, ValueError) as error:
            found = _found((), DnsFailure.TEMPORARY, _sentence(error), _TROUBLE)
            return found, _was_answered(error)
        # The chain's, which is the shortest of its links' (RFC 1035 §3.2.1: each has its own).
        ttl = min(float(answer.chaining_result.minimum_ttl), _LONGEST)
        return _found(tuple(answer), None, "", ttl), True


def _resolver(server: tuple[str, int] | None, a_try: float) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=server is None)
    if server is not None:
        resolver.nameservers, resolver.port = [server[0]], server[1]
    resolver.timeout = min(resolver.timeout, a_try)
    return resolver


def _six(address: str) -> str:
    # Few AAAA records hold an IPv4 address, and only to connect from an IPv4 source tells.
    return str(unmapped(ipaddress.ip_address(address))) if "." in address else address


def _found(rdata: tuple[Any, ...], trouble: DnsFailure | None, detail: str, ttl: float) -> _Found:
    return _Found(rdata, trouble, detail, time.monotonic() + ttl)


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
