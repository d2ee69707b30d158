"""
Looks names up in the DNS, with a cache that respects each answer's time to live.

Concurrent look-ups of one name share a question. At most a hundred questions are asked at a time,
and few while the name server is unavailable. The cache is an LRU cache. `client` asks the
questions, and decides how long an answer may be cached.

A question that is not answered within seconds loses its turn to the next one (`questions.lines`),
so that silent names do not hold up others. It continues with one of the few turns for slow names,
if one is free. Unanswered names are remembered for a while. They, and the hosts of a slow domain,
get only the turns for slow names, and are not waited for if other answers are enough.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from postroad.dns.answers import UNKNOWN, AddressAnswer, DnsFailure, MxAnswer
from postroad.dns.breaker import Breaker
from postroad.dns.client import DnsClient, Found
from postroad.dns.questions.lines import Asker
from postroad.dns.questions.silence import Silence
from postroad.dns.questions.turns import DnsTurns
from postroad.process.machine.resolv_conf import ResolvConf

_CACHED = 50_000
_LOOPBACK = ("::1", "127.0.0.1")
_GRACE = 1.0  # seconds to wait for one address family when the other is known
_TRY = 1.0  # seconds until a question is repeated, or sent to the next of several name servers
_PATIENCE = 3.0  # seconds for which a question keeps its turn, with all its tries
_LIFETIME = 10.0  # seconds for which it keeps a turn for slow names
_PATIENT_TRY = 4.0  # seconds until a question is repeated there, since a server may be slow
AT_ONCE = 100  # turns
_SLOW_AT_ONCE = 25  # further turns for slow names
_Key = tuple[str, str, bool]  # name, kind of record, whether a slow domain's mail asks
_PROBE = ("", "NS")  # the root's name servers: every working name server answers this


@dataclass(frozen=True, slots=True)
class _Asking:
    since: float
    askers: list[Asker]
    answer: "asyncio.Task[Found]"


_FAMILIES = ("AAAA", "A")
_GRAVEST = (
    DnsFailure.TEMPORARY,
    DnsFailure.UNASKED,
    DnsFailure.NO_DATA,
    DnsFailure.NO_SUCH_NAME,
    None,
)
_NOTHING_YET = Found((), DnsFailure.TEMPORARY, "the DNS does not answer", 0.0)
_UNASKED = Found((), DnsFailure.UNASKED, "the DNS does not answer", 0.0)


class Resolver:
    """Asks the system's DNS servers, or the given one."""

    def __init__(
        self, server: tuple[str, int] | ResolvConf | None = None, *, at_once: int | None = None
    ) -> None:
        """`at_once`: questions at a time, of AT_ONCE; at most a quarter more are for slow names."""
        at_once = min(at_once or AT_ONCE, AT_ONCE)
        server = server or ResolvConf()
        self._client = DnsClient(server, _TRY)
        self._patient = DnsClient(server, _PATIENT_TRY)
        self._cache: OrderedDict[tuple[str, str], tuple[Found, float]] = OrderedDict()  # until when
        self._asking: dict[_Key, _Asking] = {}
        self._turns = DnsTurns(at_once)
        self._slow_turns = DnsTurns(max(1, min(at_once // 4, _SLOW_AT_ONCE)))
        self._breaker = Breaker()
        self._probing = asyncio.Lock()
        self._silence = Silence()  # of names and kinds of records

    async def mx(self, domain: str, asker: Asker | None = None) -> MxAnswer:
        """Return a domain's MX records."""
        found = await self._look_up(domain, "MX", asker or Asker(domain))
        return MxAnswer(found.records, found.trouble, found.detail)

    async def addresses(self, host: str, asker: Asker | None = None) -> AddressAnswer:
        """Return a host's IPv6 and IPv4 addresses; `localhost` is this machine (RFC 6761 §6.3)."""
        if _is_local(host):
            return AddressAnswer(_LOOPBACK)
        six, four = await self._both(host, asker or Asker(host))
        addresses = (*six.records, *four.records)
        # A temporary failure of either family makes the whole result temporary.
        why = min((six, four), key=lambda found: _GRAVEST.index(found.trouble))
        if addresses and why.trouble not in UNKNOWN:
            return AddressAnswer(addresses)
        return AddressAnswer(addresses, why.trouble, why.detail)

    def knows_hosts(self, domain: str) -> bool:
        """Whether a domain's MX hosts and their addresses are known without a question."""
        hosts = self._known_hosts(domain)
        return bool(hosts) and all(self.knows_addresses(host) for host in hosts)

    def is_slow(self, domain: str) -> bool:
        """Whether a domain's MX records, or all of its MX hosts, were unanswered recently."""
        if self._is_silent(domain, "MX"):
            return True
        hosts = self._known_hosts(domain)
        return bool(hosts) and all(self.has_slow_addresses(host) for host in hosts)

    def _known_hosts(self, domain: str) -> list[str]:
        found = self._known(domain, "MX")
        return [] if found is None else [host for _, host in found.records] or [domain]

    def has_slow_addresses(self, host: str) -> bool:
        """Whether a host's addresses were unanswered recently."""
        known = (self._known(host, kind) for kind in _FAMILIES)
        return any(self._is_silent(host, kind) for kind in _FAMILIES) and not any(
            found is not None and found.records for found in known
        )

    def knows_addresses(self, host: str) -> bool:
        """Whether a host's addresses are known without a question."""
        return _is_local(host) or all(self._known(host, kind) for kind in _FAMILIES)

    async def _both(self, host: str, asker: Asker) -> list[Found]:
        """Look up both address families; do not wait long for one if the other is known."""
        known = [self._known(host, kind) for kind in _FAMILIES]
        if all(known):
            return [found for found in known if found]
        tasks = [asyncio.ensure_future(self._look_up(host, kind, asker)) for kind in _FAMILIES]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if any(task.done() and task.result().records for task in tasks):
            late = next((k for k, t in zip(_FAMILIES, tasks, strict=True) if not t.done()), None)
            if late is not None:
                await self._wait_for_the_other(tasks, (host, late, asker.slow))
        else:
            await asyncio.wait(tasks)
        return [task.result() if task.done() else _NOTHING_YET for task in tasks]

    async def _wait_for_the_other(self, tasks: Sequence["asyncio.Task[Found]"], late: _Key) -> None:
        if self._is_silent(*late[:2]):
            return
        asking = self._asking.get(late)  # None: the answer has just come
        passed = time.monotonic() - asking.since if asking is not None else 0.0
        if passed < _GRACE:
            await asyncio.wait(tasks, timeout=_GRACE - passed)

    def _is_silent(self, name: str, kind: str) -> bool:
        return self._silence.has((name, kind), time.monotonic())

    def _known(self, name: str, kind: str) -> Found | None:
        found, until = self._cache.get((name, kind), (None, 0.0))
        if found is None or until <= time.monotonic():
            return None
        self._cache.move_to_end((name, kind))
        return found

    async def _look_up(self, name: str, kind: str, asker: Asker) -> Found:
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
        # A caller may be cancelled; the question goes on for the others.
        return await asyncio.shield(asking.answer)

    async def _ask(self, key: _Key, askers: Sequence[Asker]) -> Found:
        found = await self._question(key, askers)
        self._cache[key[:2]] = found, time.monotonic() + found.ttl
        self._cache.move_to_end(key[:2])
        while len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return found

    async def _question(self, key: _Key, askers: Sequence[Asker]) -> Found:
        """Wait for a turn and ask, unless the name server is known to be unavailable."""
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

    async def _asked(self, name: str, kind: str, *, slow: bool) -> Found | None:
        """Ask, and note whether there was an answer; None if the name server is unavailable."""
        if not await self._is_worth_asking(slow=slow):
            return None
        self._breaker.asking += 1
        try:
            if slow:
                found, answered = await self._patient.ask(name, kind, lifetime=_LIFETIME)
            else:
                found, answered = await self._client.ask(name, kind, lifetime=_PATIENCE)
        finally:
            self._breaker.asking -= 1
        if found.trouble is DnsFailure.UNASKED:
            return found  # a lack of our own says nothing about the name or the server
        if answered:
            self._breaker.answers(time.monotonic())
            self._silence.forget((name, kind))
        else:
            self._breaker.is_silent(slow=slow)
            self._silence.remember((name, kind), time.monotonic())
        return found

    async def _is_worth_asking(self, *, slow: bool) -> bool:
        if self._breaker.is_in_doubt(time.monotonic()):
            async with self._probing:  # one probe for all that wait
                if self._breaker.is_in_doubt(time.monotonic()):
                    await self._probe()
        return self._breaker.admits(slow=slow)

    async def _probe(self) -> None:
        """Ask a question that every working name server answers."""
        began = time.monotonic()
        # Short tries reach each of several servers; a slow server needs a longer try.
        patient = asyncio.create_task(self._patient.ask(*_PROBE, lifetime=_PATIENT_TRY))
        found, answered = await self._client.ask(*_PROBE, lifetime=_PATIENCE)
        if found.trouble is DnsFailure.UNASKED:
            patient.cancel()  # not even sent
        elif answered or (await patient)[1]:
            patient.cancel()
            self._breaker.answers(time.monotonic())
        else:
            self._breaker.is_away(time.monotonic(), began=began)


def _is_local(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")
