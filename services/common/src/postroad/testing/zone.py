"""
A small DNS server on loopback that answers from a table: the world's names, as a test has them.

UDP only, as a stub resolver asks. A name's entry is a list of records in their usual text form, or
one of NXDOMAIN, SERVFAIL and SILENCE. It counts what it was asked.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 60  # seconds


class Trouble(Enum):
    """How a name can fail."""

    NXDOMAIN = auto()
    SERVFAIL = auto()
    SILENCE = auto()  # no answer at all


# {"example.net": ["MX 10 mx.example.net"], "mx.example.net": ["A 127.0.0.1"], "gone.example": …}
Table = Mapping[str, Sequence[str] | Trouble]


class Zone(asyncio.DatagramProtocol):
    """The server. Names that the table does not have do not exist."""

    def __init__(self, table: Table, *, ttl: int = TTL) -> None:
        self.table = dict(table)
        self.asked: Counter[tuple[str, str]] = Counter()
        self._ttl = ttl
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it answers."""
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

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        query = dns.message.from_wire(data)
        answer = self._answer(query)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer.to_wire(), addr)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        entry = self.table.get(name, Trouble.NXDOMAIN)
        if entry is Trouble.SILENCE:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if isinstance(entry, Trouble):
            code = dns.rcode.NXDOMAIN if entry is Trouble.NXDOMAIN else dns.rcode.SERVFAIL
            answer.set_rcode(code)
            return answer
        texts = [text.partition(" ")[2] for text in entry if text.partition(" ")[0] == kind]
        if texts:
            rrset = dns.rrset.from_text_list(
                question.name, self._ttl, "IN", kind, texts, origin=dns.name.root, relativize=False
            )
            answer.answer.append(rrset)
        return answer
