"""
No process answers another one of its role in place of the servers.

All processes of a role see the answers to each other, and may name any of their inboxes as the
place for an answer to a request of their own: the server then sends it there. Whoever could name
the next answer had a message acknowledged that nobody stored.
"""

import asyncio
import json
from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import pytest
from nats.aio.msg import Msg

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats import direct_get
from postroad.spool.jetstream.nats.client import MessageListener
from postroad.spool.jetstream.nats.direct_get import Link
from postroad.spool.jetstream.nats.incoming import Incoming
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.queued_mail import put
from postroad.testing.queue.walls import Servers

pytestmark = pytest.mark.nats

FAR = 1_000_000  # more than anybody tries


async def test_no_answer_tells_the_name_of_the_next(
    servers: Servers, ingress: JetStreamSpool
) -> None:
    seen: list[Msg] = []

    async def note(message: Msg) -> None:
        seen.append(message)

    await servers.clients["ingress"].subscribe("_INBOX_ingress.>", cb=note)
    await servers.clients["ingress"].flush()
    for _ in range(10):
        await put(ingress, "a@y.example", "b@z.example")
        await ingress.sessions.live()
    async with asyncio.timeout(patient(10)):
        while len(seen) < 30:
            await asyncio.sleep(0.02)
    names = {message.subject for message in seen}
    batches = [said["batch"] for said in map(_decoded, seen) if "batch" in said]
    assert len(set(batches)) == len(batches) == 10
    for told in (names, batches):
        assert _closest([each.rpartition(".")[2] for each in told]) > FAR


def _decoded(message: Msg) -> dict[str, str]:
    try:
        said = json.loads(message.data)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _closest(names: list[str]) -> int:
    """Return how far apart the two closest of some names are, read as numbers."""
    numbers = sorted(int(name, 36) for name in names)
    return min(later - each for each, later in pairwise(numbers))


class _Answering:
    """A server's page of a stream, with what an intruder has sent to the same inbox."""

    is_closed = False

    def __init__(self, *answers: Incoming) -> None:
        self._answers = answers

    def new_inbox(self) -> str:
        return "_INBOX_ingress.page"

    async def listen(self, subject: str, listener: MessageListener) -> "_Answering":
        self._listener = listener
        return self

    async def publish(self, subject: str, payload: bytes, *, reply: str) -> None:
        for answer in self._answers:
            self._listener(answer)

    async def unsubscribe(self) -> None:
        pass


def _stored(stream: str, sequence: int) -> Incoming:
    header = (
        f"NATS/1.0\r\nNats-Stream: {stream}\r\nNats-Subject: $KV.config.head\r\n"
        f"Nats-Sequence: {sequence}\r\nNats-Time-Stamp: 2026-11-30T00:00:00Z\r\n\r\n"
    )
    return Incoming("_INBOX_ingress.page", "", header.encode(), b"value")


END = Incoming("_INBOX_ingress.page", "", b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n", b"")


async def read(*answers: Incoming) -> list[int]:
    link = cast(Link, SimpleNamespace(client=_Answering(*answers, END), api="$JS.API"))
    page = await direct_get.page(link, "KV_config", "$KV.config.>")
    return [message.sequence for message in page.messages]


async def test_a_page_has_only_messages_of_its_stream_in_their_order() -> None:
    """Its inbox is known after the first message, so others may send answers among the rest."""
    right = [_stored("KV_config", sequence) for sequence in (3, 7)]
    assert await read(*right) == [3, 7]
    for more in (_stored("KV_presence", 9), _stored("KV_config", 3), _stored("KV_config", 7)):
        with pytest.raises(SpoolUnavailable):
            await read(*right, more)
