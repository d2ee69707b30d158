"""
A small DNS server on loopback that answers from a table of names.

It serves UDP only, as a stub resolver needs. The entry of a name is a list of records in text form,
each perhaps with a TTL before it, or one of NXDOMAIN, SERVFAIL and SILENCE. With a record such as
"AAAA SILENCE", questions for that type get no answer, and with "AAAA SERVFAIL" that error. `InTurn`
has several lists, and each question gets the next one. `late` delays an answer by some seconds. The
server counts the questions.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from itertools import cycle
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 60  # seconds


class ZoneFault(Enum):
    """How a name can fail."""

    NXDOMAIN = auto()
    SERVFAIL = auto()
    SILENCE = auto()  # no answer at all


class InTurn:
    """Records that alternate: each question gets the next list, after the last one the first."""

    def __init__(self, *lists: Sequence[str]) -> None:
        self._lists = cycle(lists)

    def next(self) -> Sequence[str]:
        """Return the records for one question."""
        return next(self._lists)


# {"example.net": ["MX 10 mx.example.net"], "mx.example.net": ["A 127.0.0.1"], "gone.example": …}
Table = Mapping[str, Sequence[str] | ZoneFault | InTurn]


class Zone(asyncio.DatagramProtocol):
    """The server. Names that are not in the table do not exist."""

    def __init__(self, table: Table, *, ttl: int = TTL) -> None:
        self.table = dict(table)
        self.asked: Counter[tuple[str, str]] = Counter()
        self.late: dict[tuple[str, str], float] = {}
        self._heard = asyncio.Event()
        self._ttl = ttl
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        """The address on which it serves."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()

    async def was_asked(self, count: int) -> None:
        """Wait until so many questions have come."""
        while self.asked.total() < count:
            self._heard.clear()
            await self._heard.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        answer = self._answer(query, name, kind)
        if answer is not None:
            wait = self.late.get((name, kind), 0.0)
            asyncio.get_running_loop().call_later(wait, self._send, answer.to_wire(), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)

    def _answer(
        self, query: dns.message.Message, name: str, kind: str
    ) -> dns.message.Message | None:
        self.asked[name, kind] += 1
        self._heard.set()
        entry = self.table.get(name, ZoneFault.NXDOMAIN)
        if entry is ZoneFault.SILENCE:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if isinstance(entry, ZoneFault):
            code = dns.rcode.NXDOMAIN if entry is ZoneFault.NXDOMAIN else dns.rcode.SERVFAIL
            answer.set_rcode(code)
            return answer
        return self._fill(answer, query.question[0].name, kind)

    def _fill(
        self, answer: dns.message.Message, name: dns.name.Name, kind: str
    ) -> dns.message.Message | None:
        """Add a name's records to an answer, following aliases; None for silence."""
        entry = self.table.get(name.to_text(omit_final_dot=True).lower(), ())
        if isinstance(entry, InTurn):
            entry = entry.next()
        records = (
            [] if isinstance(entry, ZoneFault) else [_record(text, self._ttl) for text in entry]
        )
        for found in (kind, "CNAME"):
            of_kind = [(ttl, text) for ttl, kind, text in records if kind == found]
            if not of_kind:
                continue
            if of_kind[0][1] == "SILENCE":
                return None
            if of_kind[0][1] == "SERVFAIL":
                answer.set_rcode(dns.rcode.SERVFAIL)
                break
            ttl, texts = of_kind[0][0], [text for _, text in of_kind]
            rrset = dns.rrset.from_text_list(
                name, ttl, "IN", found, texts, origin=dns.name.root, relativize=False
            )
            answer.answer.append(rrset)
            if found == "CNAME":
                return self._fill(answer, dns.name.from_text(texts[0]), kind)
            break
        return answer


def _record(text: str, ttl: int) -> tuple[int, str, str]:
    """Return the TTL, type and value of an entry's record."""
    first, _, rest = text.partition(" ")
    if first.isdigit():
        ttl = int(first)
        first, _, rest = rest.partition(" ")
    return ttl, first, rest
