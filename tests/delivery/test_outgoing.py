"""The content that goes out: all of the record's, with lines that every host accepts."""

from datetime import timedelta

import pytest

from postroad.delivery.attempt.outgoing import outgoing
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueueRecord
from postroad.testing.queue.queued_mail import record

TRACE = b"Received: from a ([192.0.2.1])\r\n\tby b; now\r\n"
SIGNED = b"DKIM-Signature: v=1\r\n"


def content(header: bytes, *, lines: int = 1) -> bytes:
    return header + b"Subject: hi\r\n\r\n" + (b"y" * 1500 + b"\r\n") * lines


async def sent(spool: MemorySpool, queued: QueueRecord) -> tuple[bytes, int]:
    """Return what goes out, and the size that the next hop is told."""
    out = outgoing(spool, queued, [0])
    if isinstance(out.content, bytes):
        return out.content, out.size
    return b"".join([chunk async for chunk in out.content]), out.size


async def queued(spool: MemorySpool, octets: bytes, *, large: bool) -> QueueRecord:
    if not large:
        return record("01A", content=octets, trace=TRACE)
    writer = spool.write_body(lifetime=timedelta(days=1))
    await writer.write(octets)
    blob = await writer.finish(destinations=1)
    return record("01A", content=blob, trace=TRACE, header=octets.partition(b"\r\n\r\n")[0])


@pytest.mark.parametrize("large", [False, True])
async def test_long_lines_are_folded_unless_they_are_signed(large: bool) -> None:
    spool = MemorySpool(role="delivery")
    plain, signed = content(b"", lines=200), content(SIGNED, lines=200)
    octets, size = await sent(spool, await queued(spool, plain, large=large))
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    assert octets.replace(b"\r\n ", b"") == TRACE + plain
    assert large or size == len(octets)
    assert await sent(spool, await queued(spool, signed, large=large)) == (
        TRACE + signed,
        len(TRACE + signed),
    )
    await spool.close()


async def test_other_content_goes_as_it_is() -> None:
    spool = MemorySpool(role="delivery")
    octets = b"Subject: hi\r\n\r\n" + b"z" * 998 + b"\r\n"
    assert (await sent(spool, await queued(spool, octets, large=False)))[0] == TRACE + octets
    await spool.close()
