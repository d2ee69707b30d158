"""
Asks the DNS one question; the only module of the data plane that uses dnspython.

It turns the results and exceptions of dnspython into records, or a reason why there are none, with
a time for which to cache them. Records are cached for the shortest TTL of their chain of aliases,
negative answers according to RFC 2308, and failures for some seconds. `resolver` decides what to
ask and when, and has the cache.
"""

import io
import ipaddress
import time
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from postroad.dns.answers import DnsFailure
from postroad.mail.ip_address import unmapped
from postroad.process.descriptors import LACKS, is_own_lack
from postroad.process.machine.resolv_conf import ResolvConf

_LONGEST = 3600.0  # the most seconds for which an answer is cached
_NEGATIVE = 60.0  # seconds for a negative answer without a SOA record
_TROUBLE = 5.0  # seconds for which a failure is cached
_LACK = 1.0  # seconds for which a lack of our own is cached


_NO_DESCRIPTOR = "the DNS cannot be asked: this machine has no file descriptors left"


@dataclass(frozen=True, slots=True)
class Found:
    """
    The records of one name and type, or why there are none; `ttl` is in seconds.

    A record is (preference, host) for MX, the address for A and AAAA, and the text for others.
    """

    records: tuple[Any, ...]
    trouble: DnsFailure | None
    detail: str
    ttl: float


class DnsClient:
    """Asks the system's DNS servers, as they are at each question, or the given one."""

    def __init__(self, server: tuple[str, int] | ResolvConf, a_try: float) -> None:
        """`a_try` is the number of seconds until a question goes to the next server or again."""
        self._server = server
        self._a_try = a_try
        self._lines = ""
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        if not isinstance(server, ResolvConf):
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]
            self._resolver.timeout = min(self._resolver.timeout, a_try)

    async def ask(self, name: str, kind: str, *, lifetime: float) -> tuple[Found, bool]:
        """
        Return the result, and whether any server answered, even with SERVFAIL.

        `lifetime` is the number of seconds for all tries. If this machine has no file descriptor
        left, the question is unasked.
        """
        try:
            resolver = self._current()
            answer = await resolver.resolve(name + ".", kind, search=False, lifetime=lifetime)
        except dns.resolver.NXDOMAIN as error:
            return Found((), DnsFailure.NO_SUCH_NAME, "no such domain", _negative(error)), True
        except dns.resolver.NoAnswer as error:
            ttl = _negative_response(error.kwargs.get("response"))
            return Found((), DnsFailure.NO_DATA, f"no {kind} record", ttl), True
        except (dns.exception.DNSException, OSError, ValueError) as error:
            if (lack := own_lack(error)) is not None and not _was_answered(error):
                LACKS.tell(lack)
                return Found((), DnsFailure.UNASKED, _NO_DESCRIPTOR, _LACK), False
            found = Found((), DnsFailure.TEMPORARY, _sentence(error), _TROUBLE)
            return found, _was_answered(error)
        # The shortest TTL of the chain of aliases; each record has its own (RFC 1035 §3.2.1).
        ttl = min(float(answer.chaining_result.minimum_ttl), _LONGEST)
        return Found(tuple(_read(kind, each) for each in answer), None, "", ttl), True

    def _current(self) -> dns.asyncresolver.Resolver:
        if isinstance(self._server, ResolvConf):
            lines = self._server.lines(time.monotonic())
            if lines != self._lines:
                self._lines = lines
                self._resolver = _resolver(lines, self._server.port, self._a_try)
        return self._resolver


def _resolver(lines: str, port: int, a_try: float) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.port = port
    resolver.read_resolv_conf(io.StringIO(lines))
    resolver.timeout = min(resolver.timeout, a_try)
    return resolver


def _read(kind: str, rdata: Any) -> tuple[int, str] | str:
    match kind:
        case "MX":
            return int(rdata.preference), _host(rdata.exchange)
        case "AAAA":
            return _six(rdata.address)
        case "A":
            return str(rdata.address)
    return str(rdata)


def _six(address: str) -> str:
    # Some AAAA records hold an IPv4 address (::ffff:192.0.2.1).
    return str(unmapped(ipaddress.ip_address(address))) if "." in address else address


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else "."


def _negative(error: dns.resolver.NXDOMAIN) -> float:
    responses = list(error.kwargs.get("responses", {}).values())
    return _negative_response(responses[0] if responses else None)


def _negative_response(response: Any) -> float:
    """Return the TTL of a negative answer: at most the SOA's minimum and TTL (RFC 2308 §5)."""
    aliases = [float(rrset.ttl) for rrset in getattr(response, "answer", ())]
    for rrset in getattr(response, "authority", ()):
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(float(rrset.ttl), float(rrset[0].minimum), _LONGEST, *aliases)
    return min([_NEGATIVE, *aliases])


def _was_answered(error: Exception) -> bool:
    """Whether any server answered, even with SERVFAIL: then the DNS is available."""
    if not isinstance(error, dns.resolver.NoNameservers | dns.resolver.LifetimeTimeout):
        return isinstance(error, dns.exception.DNSException)
    return any(tried[-1] is not None for tried in error.kwargs.get("errors", ()))


def own_lack(error: Exception) -> OSError | None:
    """Return the error by which a question was not sent for want of a descriptor, if any."""
    tries = getattr(error, "kwargs", {}).get("errors", ())
    for each in (error, *(tried[3] for tried in tries)):
        if isinstance(each, OSError) and is_own_lack(each):
            return each
    return None


def _sentence(error: Exception) -> str:
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "the DNS does not answer"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the DNS servers have no answer"
    return f"the DNS cannot be asked: {type(error).__name__}"
