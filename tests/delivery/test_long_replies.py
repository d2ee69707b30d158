"""A next hop with very long replies for each recipient: no other mail waits for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.mail.address import parse_mailbox
from postroad.policy.model import EgressPath, RetrySchedule, Smarthost, TlsMode
from postroad.smtp.reply_reader import MAX_LINE
from postroad.spool.event import EventType
from postroad.spool.interface import Spool
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.options import SpoolOptions
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.record import QueuedRecipient
from postroad.spool.selection import Selection, WaitKind
from postroad.spool.wire.record import encode
from postroad.testing.patience import patient
from postroad.testing.peers.mx import ScriptedMx
from postroad.testing.processes.delivery import delivering, history, publish, send
from postroad.testing.queue.nats_server import NatsServer

LATER = RetrySchedule(first=timedelta(hours=1))
RECIPIENTS = 60
LINES = 110


def at_length(line: bytes, _: int) -> bytes | None:
    """Refuse each recipient for now with a reply as long as a reader takes one, some 440 KB."""
    if not line.startswith(b"RCPT"):
        return None
    text = b"4.2.1 wait, for these reasons: " + line.ljust(MAX_LINE - 100, b".")
    return b"".join(b"450-" + text + b"\r\n" for _ in range(LINES - 1)) + b"450 " + text + b"\r\n"


@pytest.fixture(params=["memory", pytest.param("jetstream", marks=pytest.mark.nats)])
async def spool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Spool]:
    if request.param == "memory":
        yield MemorySpool()
        return
    async with NatsServer(tmp_path) as server:
        options = SpoolOptions(servers=(server.url,))
        await provision(options, layout=SINGLE_MACHINE)
        connected = await connect(options)
        yield connected
        await connected.close()


def to(mx: ScriptedMx) -> EgressPath:
    hosts = (Smarthost("127.0.0.1", mx.port),)
    return EgressPath(f"relay:shop/{mx.port}", hosts, tls=TlsMode.NONE, retry=LATER)


async def test_long_replies_for_many_recipients_are_kept_short(spool: Spool) -> None:
    mailboxes = [parse_mailbox(f"b{number}@y.example") for number in range(RECIPIENTS)]
    many = tuple(QueuedRecipient(mailbox) for mailbox in mailboxes)
    async with ScriptedMx(at_length) as wordy, ScriptedMx() as plain:
        await publish(spool, y_example=to(wordy), z_example=to(plain))
        async with delivering(spool):
            await send(spool, "b@y.example", recipients=many)
            failures = await history(spool, EventType.TRANSIENT_FAILURE, RECIPIENTS)
            await send(spool, "c@z.example")
            await asyncio.wait_for(plain.received(1), patient(5))
        [queued] = [each async for each in spool.waiting.list(Selection())]
    assert queued.kind is WaitKind.DEFERRED
    assert len(encode(queued.record)) < 64 * 1024
    for each, failure in zip(queued.record.recipients, failures, strict=True):
        assert each.last is not None
        assert each.last.text == failure.reply
        assert each.last.text.startswith("450 4.2.1 wait, for these reasons: RCPT TO:<b")
        assert len(each.last.text) <= 512
